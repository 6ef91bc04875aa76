"""The folder of a local run, as both sides read it: one that this program writes, and one of an earlier version."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tuneport import run_protocol
from tuneport.backends.local.runs.run import LocalRun
from tuneport.backends.local.runs.start import LocalWarmStart, apply_local_warm_start
from tuneport.backends.local.runs.state import local_tuned_model_name, read_local_job_state
from tuneport.errors import ProviderError
from tuneport.run_protocol import (
    RestartCounts,
    RunRequest,
    TrainerState,
    damaged_run_checkpoint_folders,
    run_checkpoint_folders,
)
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobStatus, TuneSpec

RUN_ID = "run-0a42d77eb8afee5b"
AUTO = dict.fromkeys(
    ("learning_rate_multiplier", "max_length", "virtual_tokens", "beta", "compute_multiplier", "eval_interval"), "auto"
) | {"eval_samples": "auto", "reasoning_effort": "auto"}
GIVEN = {"epochs": 2, "batch_size": 4, "learning_rate": 0.05, "lora_rank": 2}

# Written by tuneport at 15ff788 (only paths and texts are shortened): a run of two epochs that succeeded.
REQUEST: dict[str, Any] = {
    "run_id": RUN_ID,
    "token": "8b04d5e3775d298e78455efc5ca404d5",
    "created_at": "2026-11-27T21:40:54.197960+00:00",
    "model": "/models/tiny-llama",
    "model_name_or_path": "/models/tiny-llama",
    "home": "HOME",
    "devices": None,
    "spec": {
        "model": "/models/tiny-llama",
        "dataset": "/data/train.jsonl",
        "validation": None,
        "columns": {},
        "method": "sft",
        "adapter": "lora",
        "hyperparameters": AUTO
        | GIVEN
        | {"warmup_ratio": "auto", "weight_decay": "auto", "lora_alpha": "auto", "lora_dropout": "auto"},
        "suffix": None,
        "seed": 1,
        "budget": None,
        "metadata": {},
        "grader": None,
        "reward": None,
        "reward_folder": None,
        "from_checkpoint": None,
        "wandb": None,
        "provider_options": {},
    },
    "reward_model": None,
    "training": {
        "path": "/files/0cb5.jsonl",
        "sha256": "0cb5a2ee02f4cc388824583c21f4da77c4258574b1b5dc0cd65146a412a98d7a",
        "format": "openai",
        "rows": 12,
        "bytes": 2014,
        "trained_tokens": None,
        "left_out": [],
    },
    "validation": None,
    "hyperparameters": AUTO
    | GIVEN
    | {"warmup_ratio": 0.1, "weight_decay": 0.01, "lora_alpha": 4.0, "lora_dropout": 0.05},
    "recommended": {
        "learning_rate": 0.00025,
        "learning_rate_multiplier": None,
        "reasons": {"epochs": "as given", "weight_decay": "0.01 to 0.1 (card)"},
    },
    "base": {"hub": None, "licence": None},
    "memory": {"low_gib": 0.015, "expected_gib": 0.615, "high_gib": 1.117, "rule": "formula"},
    "tuned_name": "ft:tiny-llama::0a42d77eb8afee5b",
}
STATE = {
    "status": "succeeded",
    "progress": {"step": 6, "total_steps": 6, "epoch": 2.0, "train_loss": 10.57, "tokens_per_second": 681.0}
    | {"seconds_left": 0.0},
    "notes": [],
    "error": None,
    "updated_at": "2026-11-27T21:41:50.058133+00:00",
    "started_at": "2026-11-27T21:41:46.031954+00:00",
    "hyperparameters": GIVEN | {"warmup_ratio": 0.1, "weight_decay": 0.01, "lora_alpha": 4.0, "max_length": 28},
    "trainable_parameters": 2048,
    "total_parameters": 1593504,
    "device": "cpu",
    "precision": "bf16",
    "micro_batch": 4,
    "trainer": {"micro_batch": 4, "accumulation": 1, "scheduler": "cosine", "gradient_checkpointing": False},
    "trained_tokens": 640,
    "adapter": "/home/adapter",
    "finished_at": "2026-11-27T21:41:50.058100+00:00",
}
OTHERS = {
    "spawn.json": '{"spawned_at":"2026-11-27T21:40:54.242616Z","pid":7784,"started":"1895507",'
    '"boot_id":"00bbcc7e-fbe7-4fcd-a40f-d9c8295c313d","memory_kills":0}',
    "restarts.json": '{"total":2,"stops":0,"without_progress":1,"checkpoint_step":3}',
    "events.jsonl": '{"id":"1","created_at":"2026-11-27T21:41:43.846437Z","level":"info","message":"Validating",'
    '"type":"message","data":{}}\n',
    "metrics.jsonl": '{"step":1,"epoch":0.33,"train_loss":10.85,"train_accuracy":0.0,"learning_rate":0.0,'
    '"tokens_per_second":2037.1,"extra":{"gradient_norm":0.43}}\n{"step":2,"cut off',
    "log.txt": "done\n",
    "lock": "",
    "pid": "7784",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / RUN_ID
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(REQUEST | {"home": str(tmp_path)}, indent=1))
    (folder / "state.json").write_text(json.dumps(STATE))
    for name, text in OTHERS.items():
        (folder / name).write_text(text)
    for name in ("step-3", "step-12", "step-x", ".writing", "damaged-step-6", "damaged-step-y"):
        (folder / "checkpoints" / name).mkdir(parents=True)
    (folder / "checkpoints" / "step-4").write_text("no folder")
    return folder


def run_of(folder: Path) -> LocalRun:
    return LocalRun(folder, [], dict)


def test_the_parent_reads_an_earlier_run(folder: Path) -> None:
    run = run_of(folder)
    state = read_local_job_state(run)
    assert state.status is JobStatus.SUCCEEDED and state.model == "/models/tiny-llama"
    assert state.tuned_model == local_tuned_model_name(run) == REQUEST["tuned_name"]
    assert state.created_at is not None and state.created_at.isoformat() == REQUEST["created_at"]
    assert state.hyperparameters["lora_alpha"] == 4.0 and state.hyperparameters["max_length"] == 28
    assert state.trained_tokens == 640 and state.details["restarts"] == 2
    assert state.details["memory_gib_expected"] == 0.615 and state.details["recommended_learning_rate"] == 0.00025
    assert run.read_restarts() == RestartCounts(total=2, without_progress=1, checkpoint_step=3)
    assert [event.message for event in run.events()] == ["Validating"] and [row.step for row in run.metrics()] == [1]
    assert not run.is_alive()


def test_the_child_reads_an_earlier_run(folder: Path) -> None:
    run = TrainingRunFolder(folder)
    assert run.run_id == RUN_ID and run.home == folder.parents[1] and run.finished
    assert run.spec == TuneSpec.model_validate(REQUEST["spec"]) and run.training.rows == 12 and run.validation is None
    assert run.hyperparameters == REQUEST["hyperparameters"] and run.base_facts == {"hub": None, "licence": None}
    assert run.memory == REQUEST["memory"] and run.tuned_name == REQUEST["tuned_name"]
    assert run.state == STATE and run.checkpoint_steps() == [3, 12] and run.newest_checkpoint_step() == 12
    assert run.checkpoint(12) == run.newest_checkpoint()


def test_both_sides_agree_on_the_checkpoints(folder: Path) -> None:
    assert run_of(folder).checkpoint_folders() == run_checkpoint_folders(folder)
    assert (
        [step for step, _ in run_checkpoint_folders(folder)] == TrainingRunFolder(folder).checkpoint_steps() == [3, 12]
    )
    assert sorted(str(step) for step, _ in damaged_run_checkpoint_folders(folder)) == ["6", "None"]
    assert run_checkpoint_folders(folder / "nothing") == []


def test_an_earlier_run_is_gone_on_from(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 4, "lora_dropout": 0.05}')
    spec = TuneSpec(model="/models/tiny-llama", dataset=Path("x.jsonl"))
    begun = apply_local_warm_start(spec, LocalWarmStart(RUN_ID, run_of(folder).read_request(), folder))
    assert begun.adapter == "lora" and begun.hyperparameters.lora_rank == 2


def test_a_request_is_written_as_it_was(folder: Path) -> None:
    text = (folder / "run.json").read_text()
    assert json.dumps(RunRequest.model_validate_json(text).model_dump(mode="json"), indent=1) == text


@pytest.mark.parametrize("empty", [True, False])
def test_what_is_missing_or_null_has_its_default_and_what_is_unknown_is_ignored(folder: Path, empty: bool) -> None:
    wanted: dict[str, Any] = {"model": "m", "invented": {"later": 1}}
    for name in ("spec", "hyperparameters", "recommended", "base", "memory") if empty else ():
        wanted[name] = None
    (folder / "run.json").write_text(json.dumps(wanted))
    (folder / "state.json").write_text(json.dumps({"status": "running", "invented": 1, "micro_batch_limit": None}))
    (folder / "spawn.json").write_text('{"spawned_at":"2026-11-27T21:40:54Z","invented":1}')
    state = read_local_job_state(run_of(folder))
    assert state.status is JobStatus.RUNNING and state.model == "m" and state.created_at is None
    assert not state.hyperparameters and "memory_gib_expected" not in state.details
    assert run_of(folder).read_request().options == {}


@pytest.mark.parametrize(
    ("name", "text"), [("run.json", "{}"), ("run.json", '{"model": "m", "spec": 1}'), ("state.json", '{"status": 1}')]
)
def test_a_damaged_file_is_an_error_that_names_it(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ProviderError, match=f"{name} of the local run {RUN_ID} is damaged"):
        read_local_job_state(run_of(folder))


def test_names_and_exit_codes_stay_as_they_are() -> None:
    """Folders and trainers of other versions have them."""
    names = {name: value for name, value in vars(run_protocol).items() if name.isupper() and isinstance(value, str)}
    assert {value for name, value in names.items() if not name.startswith("_")} == {
        *("run.json", "state.json", "spawn.json", "restarts.json", "events.jsonl", "metrics.jsonl", "log.txt"),
        *("data.json", "environment.json", "starting.json", "cancel", "pause", "stop_early", "lock", "spawn.lock"),
        *("pid", "slurm.json", "ray.json", "checkpoints", "start", ".writing"),
    }
    codes = (run_protocol.FOLDER_GONE, run_protocol.ANOTHER_CHILD_LIVES, run_protocol.AGAIN)
    assert (*codes, run_protocol.STOPPED_FROM_OUTSIDE) == (66, 75, 79, 143)


def test_the_trainer_writes_nothing_into_its_state_that_its_type_does_not_have() -> None:
    written = set()
    for path in (Path(tuneport.__file__).parent / "train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "run.update",
                "self.run.update",
                "self.update",
            ):
                written |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
    assert {"status", "best_step", "micro_batch_limit", "start_anew"} <= written <= TrainerState.model_fields.keys()


@pytest.mark.parametrize(("newest", "left"), [(3, (5, 2, 3)), (4, (5, 0, 4))])
def test_deaths_are_counted_from_the_newest_checkpoint(newest: int, left: tuple[int, int, int]) -> None:
    counted = RestartCounts(total=5, without_progress=2, checkpoint_step=3).as_of_checkpoint(newest)
    assert (counted.total, counted.without_progress, counted.checkpoint_step) == left
