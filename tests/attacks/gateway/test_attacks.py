"""Every generated attack is refused by name; and no file outside the home, no process and no socket comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.gateway.conftest import TINY, Target
from tests.attacks.gateway.generated import Attack, attacks
from tests.attacks.gateway.watched import watching
from tuneport.serve.jobs.job_maker import make_jobs_of_requests

CONFIG = '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}'


@pytest.fixture
def bait(tmp_path: Path) -> Path:
    """A folder that is a model to whoever only looks at the names of its files."""
    folder = tmp_path / "another" / "users" / "model"
    folder.mkdir(parents=True)
    for name in ("config.json", "adapter_config.json", "tokenizer.json"):
        (folder / name).write_text(CONFIG)
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    return folder


def refused(attack: Attack, here: Target) -> str | None:
    """What is wrong with how the attack was answered; None: nothing."""
    told = here.send(attack)
    if told.status not in (400, 404, 422):
        return f"{attack.what}: {told.status} {told.text[:200]}"
    if attack.names is None or told.status == 404:
        return None
    param = told.error["param"] or ""
    return None if param.startswith(attack.names) else f"{attack.what}: {param!r} is named, not {attack.names!r}"


@pytest.mark.parametrize(("scope", "every"), [(None, 1), ("submit", 10)], ids=["loopback", "token"])
def test_each_attack_is_refused_by_name_and_does_nothing(
    target: Callable[..., Target], bait: Path, tmp_path: Path, scope: str | None, every: int
) -> None:
    """A token is only another way in to the same checks: every tenth attack shows that it is no way around them."""
    here, mark = target(scope), tmp_path / "mark"
    tried = list(attacks(TINY, here.file_id, bait, mark))[::every]
    make_jobs_of_requests(here.running.gateway)  # what a process reads once, it has read
    with watching(here.home, here.address[1]) as done:
        complaints = [told for attack in tried if (told := refused(attack, here)) is not None]
        make_jobs_of_requests(here.running.gateway)  # what was written down would become a job now
    assert not complaints, "\n".join(complaints)
    assert not done, "\n".join(done)
    assert len(tried) * every > 150 and here.jobs() == 0 and not mark.exists()


def test_the_watch_sees_what_attacks_would_do(tmp_path: Path) -> None:
    import socket
    import subprocess
    import sys

    (tmp_path / "secret").write_text("x")
    home = tmp_path / "home"
    with watching(home, 1) as done:
        (home / "allowed").write_text("x")
        (tmp_path / "secret").read_text()
        subprocess.run([sys.executable, "-c", ""], check=True)
        with socket.socket() as wire, pytest.raises(OSError):
            wire.connect(("127.0.0.1", 9))
    told = "\n".join(done)
    assert "secret" in told and "subprocess.Popen" in told and "socket.connect" in told and "allowed" not in told


def test_what_an_older_gateway_wrote_down_is_refused_when_it_is_taken_up(target: Callable[..., Target]) -> None:
    here = target()
    store = here.running.gateway.unscoped.store
    row = store.uploaded.get(here.file_id)
    assert row is not None
    body = {
        "model": TINY, "training_file": here.file_id, "training_sha256": row.sha256, "validation_sha256": None,
        "tuneport": {"method": "sft", "adapter": "auto", "hyperparameters": {}, "backend": "local",
                     "provider_options": {"slurm": {"setup": ["id"]}, "executor": "slurm"}},
    }  # fmt: skip
    request = store.requests.add("ftjob-older", body, backend="local", tuned_model="ft:t", key=None)
    make_jobs_of_requests(here.running.gateway)
    again = store.requests.get(request.id)
    assert again is not None and again.state == "failed" and again.error is not None
    assert again.error["code"] == "operator_only" and "slurm.setup" in again.error["message"]
    assert store.jobs.all() == []
