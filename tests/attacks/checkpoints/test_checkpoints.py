"""Damaged checkpoints, weights and prepared files of a real run: told of, and never trained on or handed out."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.checkpoints.bench import RUN, Bench
from tests.attacks.checkpoints.damages import DAMAGES, QUICK, flip, in_payload

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")

from tuneport.backends.local.backend import LocalBackend
from tuneport.errors import TrainingError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.types import TuneSpec


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("checkpoints"))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, marks=[] if damage.name in QUICK else [pytest.mark.full], id=damage.name)
        for damage in DAMAGES
    ],
)
def test_a_damaged_run_ends_as_an_undamaged_one_or_says_why_not(bench: Bench, damage: object) -> None:
    found = bench.try_one(damage)  # type: ignore[arg-type]
    assert not found.wrong, found


@pytest.mark.full
def test_all_checkpoints_damaged_is_a_question_to_the_user_whose_answer_trains_anew(bench: Bench) -> None:
    """Resumed, the run starts from step 0, says so, and ends with the same weights."""
    (damage,) = (damage for damage in DAMAGES if damage.name == "all checkpoints")
    assert bench.try_one(damage).ended == "failed"
    assert bench.resumed() == "", "as a run that was never killed"
    assert any("starts anew from step 0" in message for message in bench.warnings())


@pytest.fixture
def backend(bench: Bench, tmp_path: Path) -> LocalBackend:
    """On a copy of the home of the run that ended."""
    home = bench.copied("straight", tmp_path / "home")
    return LocalBackend(load_manifest("local"), Settings(home=home))


Use = Callable[[LocalBackend, Bench, Path], object]
USES: dict[str, tuple[str, Use]] = {
    "download": ("adapter", lambda backend, bench, folder: backend.download(RUN, folder / "out")),
    "merge": ("adapter", lambda backend, bench, folder: backend.download(RUN, folder / "out", merged=True)),
    "chat": ("adapter", lambda backend, bench, folder: backend.names.find_weights(RUN)),
    "download of a step": (
        "checkpoints/step-16",
        lambda backend, bench, folder: backend.download(f"{RUN}:16", folder / "out"),
    ),
    "chat with a step": (
        "checkpoints/step-16",
        lambda backend, bench, folder: backend.names.find_weights(f"{RUN}:ckpt-step-16"),
    ),
    "going on from it": (
        "adapter",
        lambda backend, bench, folder: going_on(backend, bench),
    ),
}


def going_on(backend: LocalBackend, bench: Bench) -> object:
    from tuneport.testing.contract import prepared_chats

    data = prepared_chats(bench.folder)
    spec = TuneSpec(model=str(bench.model), dataset=data.training.path, from_checkpoint=RUN)
    return backend.submit(spec, list(backend.prepare(spec, data)), token="another")


@pytest.mark.parametrize("use", USES)
def test_damaged_weights_are_not_used(bench: Bench, backend: LocalBackend, tmp_path: Path, use: str) -> None:
    where, call = USES[use]
    run = backend.settings.home / "runs" / RUN
    in_payload(run / where / "adapter_model.safetensors", random.Random(use))
    with pytest.raises(TrainingError, match="adapter_model.safetensors is not as it was written") as refused:
        call(backend, bench, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists() and len(list(run.parent.glob("run-*"))) == 1


def test_whole_weights_are_downloaded_with_their_digests(bench: Bench, backend: LocalBackend, tmp_path: Path) -> None:
    import subprocess

    for name, remote_id in (("adapter", RUN), ("step", f"{RUN}:16")):
        folder = backend.download(remote_id, tmp_path / name)
        done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stderr
        listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
        assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    card = (tmp_path / "adapter" / "README.md").read_text()
    digest = (tmp_path / "adapter" / "SHA256SUMS").read_text().partition("  adapter_model")[0].splitlines()[-1]
    assert f"| adapter_model.safetensors | `{digest}` |" in card
    flip(tmp_path / "adapter" / "README.md", random.Random(1))  # a text of the user's own, who may edit it
    assert backend.names.find_weights(str(tmp_path / "adapter")).adapter == tmp_path / "adapter"
    in_payload(tmp_path / "adapter" / "adapter_model.safetensors", random.Random(2))
    with pytest.raises(TrainingError, match="are damaged"):
        backend.names.find_weights(str(tmp_path / "adapter"))


def test_weights_without_digests_are_used_as_before(bench: Bench, backend: LocalBackend, tmp_path: Path) -> None:
    """As versions before wrote them."""
    adapter = backend.settings.home / "runs" / RUN / "adapter"
    (adapter / "SHA256SUMS").unlink()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert backend.download(RUN, tmp_path / "out") == tmp_path / "out"
    assert backend.names.find_weights(RUN).adapter == adapter
