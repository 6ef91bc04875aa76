"""Out of memory: the system refuses a real trainer real memory in the middle of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import chat_rows, lines_of, make_run, state_of, tiny_tokenizer, write_rows
from tests.train.runs import finish, told
from tuneport.errors import TrainingError
from tuneport.train.speed.memory_retry import (
    explain_full_gpu,
    is_training_out_of_memory,
    memory_saving_settings,
    smaller_micro_batch,
)
from tuneport.training_options import largest_divisor

GIB = 2**30
needs_limit = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's data")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model whose activations (about half a MiB a token) outweigh all else."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder, tokenizer = tmp_path / "wide", tiny_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 32768, "num_hidden_layers": 1, "num_attention_heads": 4}
    tokens = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 2}
    config = LlamaConfig(
        **shape, **tokens, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run_of(home: Path, model: Path, name: str, batch_size: int) -> Path:
    rows = chat_rows(16)
    for row in rows:
        row["messages"][1]["content"] += " and" * 10
    data = write_rows(home / "rows.jsonl", rows)
    numbers = {"epochs": 1 if batch_size == 2 else 2, "batch_size": batch_size}
    options = {"precision": "fp32", "save_every": 1}
    return make_run(home, model, data, name=name, hyperparameters=numbers, provider_options=options)


def train_limited(folder: Path, *, at: int, mib: int) -> int:
    environment = os.environ | {"LIMIT_AT": str(at), "LIMIT_MIB": str(mib), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.limited", str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    return done.returncode


@pytest.mark.full
@needs_limit
def test_a_step_that_does_not_fit_is_taken_in_halves_from_the_last_checkpoint_on(home: Path, wide: Path) -> None:
    limited, free = (run_of(home, wide, name, batch_size=8) for name in ("limited", "free"))
    assert train_limited(limited, at=2, mib=250) == 0, state_of(limited)["error"]

    state = state_of(limited)
    assert state["status"] == "succeeded" and (state["micro_batch"], state["micro_batch_limit"]) == (4, 4)
    said = "out of memory with 8 rows at once; going on with 4, 2 times a step"
    assert [note for note in state["notes"] if note.startswith(said)]
    events = lines_of(limited / "events.jsonl")
    assert [event["level"] for event in events if event["message"].startswith(said)] == ["warning"]
    assert any(event["message"].endswith("going on from step 2") for event in events)
    finish(free)
    assert state_of(free)["micro_batch"] == 8
    assert [row["step"] for row in told(limited)] == [1, 2, 3, 4]
    halved, whole = ([row["train_loss"] for row in told(folder)] for folder in (limited, free))
    assert halved == pytest.approx(whole, rel=1e-4), "the same steps"
    assert state["trained_tokens"] == state_of(free)["trained_tokens"]


@pytest.mark.full
@needs_limit
def test_one_row_that_does_not_fit_fails_with_what_helps(home: Path, wide: Path) -> None:
    folder = run_of(home, wide, "limited", batch_size=2)
    assert train_limited(folder, at=1, mib=5) == 1
    state = state_of(folder)
    assert state["micro_batch_limit"] == 1 and state["status"] == "failed"
    error = state["error"]
    assert error["code"] == "out_of_memory" and error["fault"] == "user" and "\n" not in error["message"]
    assert error["message"].startswith("even one row at once does not fit in memory; use the adapter qlora, ")
    assert "gradient_checkpointing" in error["message"] and "max_length" in error["message"]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-1"], "what was reached is kept"


@pytest.mark.parametrize(
    ("batch_size", "rows", "at_least", "smaller"),
    [
        (8, 8, 1, 4),
        (8, 4, 1, 2),
        (8, 1, 1, None),
        (6, 6, 1, 3),
        (6, 3, 1, 1),
        (7, 7, 1, 1),
        (8, 4, 2, 2),
        (8, 2, 2, None),
    ],
)
def test_the_next_smaller_part_divides_the_batch(
    batch_size: int, rows: int, at_least: int, smaller: int | None
) -> None:
    assert smaller_micro_batch(batch_size, rows, at_least=at_least) == smaller
    assert largest_divisor(12, 5) == 4 and largest_divisor(12, None) == 12


def test_a_full_gpu_says_how_much_is_free_and_who_should_act() -> None:
    told = explain_full_gpu(free=GIB // 2, total=80 * GIB, own=GIB)
    assert told is not None and told.startswith(
        "the GPU has 0.5 of 80.0 GiB free, and other processes hold 78.5 GiB: end"
    )
    assert explain_full_gpu(free=GIB, total=80 * GIB, own=76 * GIB) is None, "this run alone fills it"


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.1 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
        (TrainingError("out of memory of men"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, memory: bool) -> None:
    assert is_training_out_of_memory(error) is memory


def test_advice_names_only_what_is_not_done_yet() -> None:
    assert "qlora" in memory_saving_settings("lora", False) and "gradient_checkpointing" in memory_saving_settings(
        "lora", False
    )
    assert memory_saving_settings("qlora", True) == "a smaller max_length or a smaller model"


@pytest.mark.parametrize("full", [True, False])
def test_a_full_gpu_is_the_machines_fault_and_a_large_model_the_users(
    monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """The figures are handed in: this is the one place where a GPU is asked."""
    import torch

    from tuneport.train.run import failures

    numbers: Any = (GIB, 80 * GIB, GIB if full else 78 * GIB)
    monkeypatch.setattr(failures, "training_gpu_memory", lambda: numbers)
    error = failures.training_job_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert error.code == "out_of_memory" and (error.fault, error.retryable) == (
        ("provider", True) if full else ("user", False)
    )
