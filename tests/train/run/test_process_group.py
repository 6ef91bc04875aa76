"""One run on two processes: what a single one would have done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import chat_rows, lines_of, make_run, state_of, write_rows
from tests.support.waiting import until
from tuneport.errors import ConfigError
from tuneport.train.__main__ import train_run_folder
from tuneport.train.launch import RankDiedError, launch_training_ranks
from tuneport.train.model.sharding import choose_sharding
from tuneport.train.run.process_group import EpochOrderSampler, batch_for_workers
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import Adapter

OPTIONS: dict[str, Any] = {"precision": "fp32"}


def assert_same_weights(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    from safetensors.torch import load_file

    files = [next(run.glob("[am]*/*model.safetensors")) for run in (one, other)]
    first, second = map(load_file, files)
    assert first.keys() >= second.keys()  # FSDP saves a head that is tied to the embedding, too
    for name, weights in ((name, first[name]) for name in second):
        assert (second[name].float() - weights.float()).abs().max() < tolerance, name


@pytest.mark.full
def test_two_ranks_do_what_one_process_does(home: Path, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """18 rows: the last batch of an epoch is a half one, and one of the two ranks has nothing in it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = write_rows(tmp_path / "train.jsonl", chat_rows(18))
    valid = write_rows(tmp_path / "valid.jsonl", chat_rows(5))
    runs = [
        make_run(home, model, data, name=f"on-{count}", validation=valid, provider_options=OPTIONS | {"workers": count})
        for count in (1, 2)
    ]
    assert [train_run_folder(run) for run in runs] == [0, 0]

    alone, shared = ([row for row in lines_of(run / "metrics.jsonl")] for run in runs)
    assert [row["step"] for row in shared] == [row["step"] for row in alone]
    for name in ("train_loss", "valid_loss", "train_accuracy"):
        for one, other in zip(alone, shared, strict=True):
            assert (name in one) == (name in other)
            assert abs(one.get(name, 0) - other.get(name, 0)) < 1e-4, (name, one, other)
    assert_same_weights(*runs)
    assert state_of(runs[1])["trained_tokens"] == state_of(runs[0])["trained_tokens"]


@pytest.mark.full
def test_a_rank_that_fails_or_dies_ends_them_all(home: Path, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """What a rank can tell is the run's failure; a killed one leaves the run to whoever starts it again."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    failing = make_run(home, model, tmp_path / "none.jsonl", name="failing", provider_options=OPTIONS | {"workers": 2})
    assert train_run_folder(failing) == 1
    assert state_of(failing)["status"] == "failed" and "none.jsonl" in state_of(failing)["error"]["message"]

    data = write_rows(tmp_path / "train.jsonl", chat_rows(16))
    numbers = {"epochs": 20}
    killed, alone = (
        make_run(home, model, data, name=name, hyperparameters=numbers, provider_options=OPTIONS | {"workers": count})
        for name, count in (("killed", 2), ("alone", 1))
    )
    child = subprocess.Popen([sys.executable, "-m", "tuneport.train", str(killed)])
    until(lambda: any((killed / "checkpoints").glob("step-*")), alive=lambda: child.poll() is None)
    ranks = [p for p in psutil.Process(child.pid).children() if "tuneport.train.ddp_worker" in p.cmdline()]
    ranks[1].kill()
    assert child.wait(120) == 1
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    assert state_of(killed)["status"] == "running"

    # The same run goes on, now on one process: what was shared out is whole again.
    request = json.loads((killed / "run.json").read_text())
    request["spec"]["provider_options"]["workers"] = 1
    (killed / "run.json").write_text(json.dumps(request))
    assert [train_run_folder(killed), train_run_folder(alone)] == [0, 0]
    assert any("going on from step" in event["message"] for event in lines_of(killed / "events.jsonl"))
    assert [row["step"] for row in lines_of(killed / "metrics.jsonl")] == list(range(1, 81))
    assert_same_weights(killed, alone)
    assert state_of(killed)["trained_tokens"] == state_of(alone)["trained_tokens"]


def test_the_batch_is_shared_evenly_or_refused() -> None:
    assert batch_for_workers(8, 4, chosen=True) == 8
    assert batch_for_workers(6, 4, chosen=False) == 8
    with pytest.raises(ConfigError, match="set batch_size to 8"):
        batch_for_workers(6, 4, chosen=True)


def test_each_row_is_seen_once_an_epoch() -> None:
    order = EpochOrderSampler(7, seed=3, fillers=1)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(8)) and first[-1] == second[-1] == 7
    assert first != second
    grouped = list(EpochOrderSampler(8, seed=3, lengths=[1, 9, 1, 9, 1, 9, 1, 9], group=4))
    assert sorted(grouped) == list(range(8))


@pytest.mark.parametrize(
    ("billions", "adapter", "gigabytes", "workers", "expected"),
    [
        (8, Adapter.LORA, 24, 1, "single"),
        (8, Adapter.LORA, 48, 2, "ddp"),
        (8, Adapter.LORA, 16, 2, "fsdp"),
        (70, Adapter.QLORA, 80, 8, "ddp"),
        (70, Adapter.LORA, 80, 8, "fsdp"),
        (1, Adapter.FULL, 80, 2, "ddp"),
        (8, Adapter.FULL, 80, 8, "fsdp"),
    ],
)
def test_sharding_is_chosen_by_fit(
    billions: int, adapter: Adapter, gigabytes: int, workers: int, expected: str
) -> None:
    assert choose_sharding(billions * 10**9, adapter, gigabytes * 10**9, workers) == expected


@pytest.mark.full
@pytest.mark.parametrize("adapter", ["lora", "full", "qlora"])
def test_fsdp_ends_where_one_process_does(home: Path, model: Path, data: Path, adapter: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = CHECKOUT
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]))
    shared, alone = (
        make_run(home, model, data, name=name, adapter=adapter, provider_options=OPTIONS | extra)
        for name, extra in (("shared", {"workers": 2, "sharding": "fsdp"}), ("alone", {}))
    )
    run = TrainingRunFolder(shared)
    assert run.lock()
    for attempt in range(3):  # torch's gathering of sharded moments over gloo has crashed once in seven runs
        try:
            launch_training_ranks(run, 2, lambda: False, module="tests.train.fsdp_rank")
            break
        except RankDiedError:
            assert attempt < 2
    assert train_run_folder(alone) == 0
    assert "trained on 2 workers with FSDP" in state_of(shared)["notes"]
    told, wanted = ([row["train_loss"] for row in lines_of(run / "metrics.jsonl")] for run in (shared, alone))
    assert told == pytest.approx(
        wanted, abs=0.05 if adapter == "qlora" else 1e-4
    )  # 4 bits round differently in a batch
    if adapter != "qlora":
        assert_same_weights(shared, alone, 1e-4)
