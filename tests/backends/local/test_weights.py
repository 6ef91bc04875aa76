"""Weights of a local run elsewhere, runs that go on from another, and what is refused before anything starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.local.test_backend import make_tiny_model, opened
from tests.support.activities import record_activities
from tests.support.tiny import tiny_model as one_without_template
from tests.support.waiting import until
from tuneport.backends.local import memory as local_memory
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.memory import (
    LocalMemory,
    LocalModelSize,
    find_local_model_size,
    least_local_training_memory,
)
from tuneport.errors import ConfigError, NotFoundError, TrainingError, TuneportError, UnsupportedError
from tuneport.lifecycle.service import JobService
from tuneport.run_protocol import RunRequest
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.types import Adapter, Hyperparameters, JobState, JobStatus, Method, TuneSpec, Wandb

CHAT = [{"role": "user", "content": "Where is my parcel?"}]
NUMBERS = Hyperparameters(epochs=2, batch_size=4, lora_rank=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    opened_backend = opened(tmp_path_factory.mktemp("artifacts") / "home")
    yield opened_backend
    opened_backend.close()


@pytest.fixture(scope="module")
def finished(backend: LocalBackend, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> JobState:
    data = prepared_chats(tmp_path_factory.mktemp("data"))
    spec = TuneSpec(model=str(tiny_model), dataset=data.training.path, seed=1, hyperparameters=NUMBERS)
    state = ended(
        backend, backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("first")).remote_id
    )
    assert state.status is JobStatus.SUCCEEDED, state
    return state


def ended(backend: LocalBackend, run_id: str) -> JobState:
    state: JobState = until(lambda: (state := backend.fetch(run_id)).status.terminal and state, seconds=300)
    return state


def going_on(finished: JobState, model: Path, folder: Path, **fields: Any) -> TuneSpec:
    spec = {"model": str(model), "dataset": folder, "from_checkpoint": finished.remote_id, "seed": 1}
    return TuneSpec.model_validate(spec | {"hyperparameters": {"epochs": 1, "batch_size": 4}} | fields)


@pytest.mark.full
def test_a_checkpoint_and_a_merged_model_are_downloaded_and_answer(
    backend: LocalBackend, finished: JobState, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert finished.details["trainer"]["scheduler"] == "cosine" and finished.details["memory_gib_expected"] < 2
    assert {"environment.json", "data.json"} <= {Path(name).name for name in finished.result_files}
    step = next(iter(backend.checkpoints(finished.remote_id))).step
    adapter = backend.download(f"{finished.remote_id}:{step}", tmp_path / "adapter")
    kept = {path.name for path in adapter.iterdir()}
    assert "adapter_model.safetensors" in kept and not any(name.endswith((".pt", ".pth", ".bin")) for name in kept)
    with pytest.raises(NotFoundError, match=f"no checkpoint of step 99 \\(it has: .*{step}"):
        backend.download(f"{finished.remote_id}:99", tmp_path / "nothing")

    merged = backend.download(finished.remote_id, tmp_path / "new" / "merged", merged=True)
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= {
        path.name for path in merged.iterdir()
    }
    assert [path.name for path in merged.parent.iterdir()] == ["merged"], "nothing is left beside it"
    said = [
        backend.complete(name, CHAT, max_tokens=8, temperature=0.0).text  # type: ignore[union-attr]
        for name in (str(merged), str(adapter), finished.remote_id)
    ]
    assert len(set(said)) == 1
    with pytest.raises(ConfigError, match="not an empty folder"):
        backend.download(finished.remote_id, merged, merged=True)


def test_a_download_tells_how_far_it_is(
    finished: JobState, backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record_activities(monkeypatch, "tuneport.backends.local.weights")
    backend.download(finished.remote_id, tmp_path / "copy")
    assert list(told) == ["copying the weights"] and 0.9 < (told["copying the weights"] or 0) <= 1.0


def test_a_merge_that_fails_leaves_nothing(finished: JobState, backend: LocalBackend, tmp_path: Path) -> None:
    import sys

    script = tmp_path / "killed.py"
    script.write_text("import os, signal, sys\nos.mkdir(sys.argv[3])\nos.kill(os.getpid(), signal.SIGKILL)\n")
    other = opened(backend.settings.home, merge_command=[sys.executable, str(script)])
    target = tmp_path / "there" / "merged"
    with pytest.raises(TrainingError, match="exit code -9.*out of memory") as died:
        other.download(finished.remote_id, target, merged=True)
    assert "\n" not in str(died.value) and not list(target.parent.iterdir())


def test_a_run_goes_on_from_another_which_may_then_be_deleted(
    backend: LocalBackend, finished: JobState, tiny_model: Path, tmp_path: Path
) -> None:
    data = prepared_chats(tmp_path)
    spec = going_on(finished, tiny_model, data.training.path)
    backend.check(spec)
    run_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("second")).remote_id
    before = backend.runs.folder / finished.remote_id / "adapter" / "adapter_model.safetensors"
    linked = backend.runs.folder / run_id / "start" / "adapter_model.safetensors"
    assert linked.stat().st_ino == before.stat().st_ino, "another name for the same bytes, not a copy"
    state = ended(backend, run_id)
    assert state.status is JobStatus.SUCCEEDED, state
    assert state.hyperparameters["lora_rank"] == 2, "as the adapter has it, not what auto would be"
    first, second = backend.metrics(finished.remote_id), backend.metrics(run_id)
    assert second[0].train_loss < first[0].train_loss  # type: ignore[operator]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"adapter": "full"}, "with the adapter full: it is lora"),
        ({"hyperparameters": {"lora_rank": 8}}, "with lora_rank 8: its adapter has 2"),
        ({"method": "reward"}, "with the method reward: it was trained with sft"),
        ({"provider_options": {"lora_variant": "dora"}}, "with lora_variant dora: it has none"),
        ({"from_checkpoint": "run-0123456789abcdef"}, "there is no local run run-0123456789abcdef"),
        ({"from_checkpoint": "ft:elsewhere"}, "there is no local run ft:elsewhere"),
    ],
)
def test_what_does_not_match_the_weights_to_go_on_from_is_refused(
    backend: LocalBackend, finished: JobState, tiny_model: Path, tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(TuneportError, match=says) as refused:
        backend.check(going_on(finished, tiny_model, tmp_path / "data.jsonl", **fields))
    assert "\n" not in str(refused.value)


def test_another_base_is_refused(backend: LocalBackend, finished: JobState, tmp_path: Path) -> None:
    other = one_without_template(tmp_path / "other")
    data = prepared_chats(tmp_path)
    with pytest.raises(UnsupportedError, match="cannot continue over .*other; submit with --model"):
        list(backend.prepare(going_on(finished, other, data.training.path), data))


def test_the_key_of_wandb_goes_to_runs_that_ask_for_it_only(
    settings: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "wandb-key-0123456789")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    from tuneport.backends import open_backend

    backend = open_backend("local", Settings.load(tmp_path / "work"))
    assert isinstance(backend, LocalBackend)
    backend.runs.folder.mkdir(parents=True)
    for name, wandb in (("run-000000000000000a", None), ("run-000000000000000b", {"project": "bots"})):
        backend.runs.create(name, RunRequest(model="m", spec={"wandb": wandb}))
    environments = [backend._run(name).environment() for name in ("run-000000000000000a", "run-000000000000000b")]
    assert [environment.get("WANDB_API_KEY") for environment in environments] == [None, "wandb-key-0123456789"]
    assert not any("HF_TOKEN" in environment for environment in environments)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(ConfigError, match=r"pip install .*\[trackers\]"):
        backend.check(TuneSpec(model="m", dataset=tmp_path / "d", wandb=Wandb(project="bots")))


# --- does it fit? -------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused_with_what_would(
    backend: LocalBackend, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model=str(tiny_model), dataset=data.training.path, adapter=Adapter.FULL)
    runs = list(backend.list_jobs())
    monkeypatch.setattr(local_memory, "detect_local_memory", lambda: LocalMemory("this machine", 0.3, 0.2))
    with pytest.raises(UnsupportedError, match=r"full of .* needs about 0\.6 GiB .* 0\.2 of it free; .*allow_oversize"):
        list(backend.prepare(spec, data))
    assert len(list(backend.list_jobs())) == len(runs)
    list(backend.prepare(spec.model_copy(update={"provider_options": {"allow_oversize": True}}), data))
    # A busy machine will be free when this run's turn comes: what it has in all decides.
    monkeypatch.setattr(local_memory, "detect_local_memory", lambda: LocalMemory("this machine", 64, 0.2))
    arguments = (str(tiny_model), find_local_model_size(tiny_model, None, None), Adapter.LORA, Method.SFT, {})
    assert local_memory.check_local_run_memory(*arguments, busy=True, force=False)
    with pytest.raises(UnsupportedError):
        local_memory.check_local_run_memory(*arguments, busy=False, force=False)


def test_the_advice_names_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_memory, "detect_local_memory", lambda: LocalMemory("T4", 15.0, 14.5))
    eight = LocalModelSize(8.0, None)
    with pytest.raises(UnsupportedError) as refused:
        local_memory.check_local_run_memory("big", eight, Adapter.LORA, Method.SFT, {}, busy=False, force=False)
    assert "use the adapter qlora (about 8." in str(refused.value)
    assert "use a smaller model such as" in str(refused.value)


def test_the_least_need_counts_what_the_method_adds(tiny_model: Path) -> None:
    size = find_local_model_size(tiny_model, None, None)
    assert size.dimensions is not None and size.dimensions.layers == 2
    need = {method: least_local_training_memory(size, Adapter.FULL, method, {}) for method in (Method.SFT, Method.DPO)}
    sft, dpo = need[Method.SFT], need[Method.DPO]
    assert sft is not None and dpo is not None and dpo.expected_gib > sft.expected_gib
    assert "reference model" in dpo.components_gib
    assert least_local_training_memory(LocalModelSize(None, None), Adapter.LORA, Method.SFT, {}) is None


# --- bad input, by the command that a user types ------------------------------------------------------------------


def rows_of(*messages: list[dict[str, Any]]) -> str:
    return "".join(json.dumps({"messages": list(row)}) + "\n" for row in messages)


ASKED = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "On its way."}]
# What the trainer finds is in tests/train/test_bad_input.py, case by case.
BAD = {
    "no model": (rows_of(ASKED, ASKED), "nobody/nothing", "are not on this machine"),
    "all masked": (rows_of([ASKED[0], ASKED[1] | {"weight": 0}]), "", "none of the 1 rows would train anything"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_leaves_the_store_whole(
    what: str, tiny_model: Path, isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuneport.cli.main import main

    content, model, says = BAD[what]
    Path("train.jsonl").write_text(content)
    command = [
        "submit",
        "--yes",
        "--anyway",
        "train.jsonl",
        "--model",
        model or str(tiny_model),
        "--backend",
        "local",
        "--wait",
    ]
    assert main(command) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and says in error[0], error
    with JobService() as workspace:
        rows = workspace.store.jobs.all()
        assert all(row.status == "failed" and row.job_error and row.job_error.fault == "user" for row in rows)
        for row in rows:
            assert row.remote_id is None or workspace.backend("local").fetch(row.remote_id).status is JobStatus.FAILED
