"""One run on two processes: what a single one would have done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.train.tiny import chat_rows, lines_of, make_run, state_of, write_rows
from tuneport.train.__main__ import main

OPTIONS: dict[str, Any] = {"precision": "fp32"}


def test_two_ranks_do_what_one_process_does(
    home: Path, model: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """18 rows: the last batch of an epoch is a half one, and one of the two ranks has nothing in it."""
    from safetensors.torch import load_file

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = write_rows(tmp_path / "train.jsonl", chat_rows(18))
    valid = write_rows(tmp_path / "valid.jsonl", chat_rows(5))
    runs = [
        make_run(home, model, data, name=f"on-{count}", validation=valid, provider_options=OPTIONS | {"workers": count})
        for count in (1, 2)
    ]
    assert [main(run) for run in runs] == [0, 0]

    alone, shared = ([row for row in lines_of(run / "metrics.jsonl")] for run in runs)
    assert [row["step"] for row in shared] == [row["step"] for row in alone]
    for name in ("train_loss", "valid_loss", "train_accuracy"):
        for one, other in zip(alone, shared, strict=True):
            assert (name in one) == (name in other)
            assert abs(one.get(name, 0) - other.get(name, 0)) < 1e-4, (name, one, other)
    once, twice = (load_file(run / "adapter" / "adapter_model.safetensors") for run in runs)
    for name, weights in once.items():
        assert (twice[name] - weights).abs().max() < 1e-5, name
    assert state_of(runs[1])["trained_tokens"] == state_of(runs[0])["trained_tokens"]
