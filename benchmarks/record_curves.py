"""Record the loss curves of real runs, for `benchmarks/curves.py` and the tests to judge the overfitting detector by.

    python benchmarks/record_curves.py [--only NAME ...] [--data FOLDER] [--output fixtures/curves]

Each run of `RUNS` is one job of the local backend with the real SmolLM2-135M-Instruct, submitted like any other, on
rows of `fixtures/datasets` or of LLaMA-Factory's `alpaca_en_demo.json` in `--data`. Its points are written as the
backend tells them, beside how they were made. What the truth is was decided before, by what the run is made for; a
second witness stands beside it that the detector never sees: the loss of the last weights and of the best checkpoint on
rows that are neither trained nor validated on, with the interval of their difference over the rows.
A run that is recorded already is left as it is, so that the script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tuneport
from tuneport.base_models import locate_base_model, materialise_base_model
from tuneport.data.reading import read_records
from tuneport.data.tokens.tokenizer import training_template_renderer
from tuneport.settings import Settings
from tuneport.types import Checkpoint

ROOT = Path(__file__).parent.parent
MODEL = "smollm2-135m-instruct"
WITNESS_ROWS = 40
SHORT = {"question": 100, "answer": (15, 160)}
"""Characters of the rows taken from alpaca_en_demo.json: a run is to take minutes on two processor cores."""
RECORDED = {"step", "epoch", "train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "learning_rate"}


@dataclass(frozen=True)
class Run:
    """`truth` is what the run was made to be. `tuned_by`: the detector's thresholds may be chosen by it; the others
    only judge them."""

    name: str
    data: str
    rows: int
    validation_rows: int
    epochs: int
    learning_rate: float
    truth: str
    seed: int = 1
    batch_size: int = 8
    lora_rank: int = 16
    wrong_labels: bool = False
    tuned_by: bool = False
    options: dict[str, Any] = field(default_factory=dict)


INTENTS, ALPACA, TOOLS = "support_intents", "alpaca_en_demo", "support_tools"
RUNS = (
    # made to overfit: few rows, many epochs, high rates
    Run("overfit-alpaca-30x30", ALPACA, 30, 24, 30, 5e-4, "overfitting", tuned_by=True),
    Run(
        "overfit-alpaca-rank-64",
        ALPACA,
        16,
        12,
        12,
        1e-3,
        "overfitting",
        seed=5,
        lora_rank=64,
        batch_size=4,
        tuned_by=True,
    ),
    # made to be good
    Run("good-alpaca-80x3", ALPACA, 80, 16, 3, 3e-4, "healthy", seed=3, tuned_by=True),
    # stopped before it was done
    Run("short-alpaca-low-rate", ALPACA, 32, 16, 4, 2e-5, "still_learning", seed=1, tuned_by=True),
    # wrecked
    Run("wrecked-alpaca-rate", ALPACA, 24, 12, 5, 0.1, "diverged", seed=1, tuned_by=True),
    # too little to judge by
    Run("few-steps-alpaca", ALPACA, 24, 8, 1, 3e-4, "unclear", seed=1, tuned_by=True),
    # the same again
    Run("good-intents-120x3", INTENTS, 120, 30, 3, 5e-4, "healthy", seed=1, tuned_by=True),
    Run("overfit-wrong-labels", INTENTS, 24, 16, 14, 1e-3, "overfitting", seed=4, wrong_labels=True, tuned_by=True),
    Run("overfit-alpaca-within-epochs", ALPACA, 24, 10, 10, 1e-3, "overfitting", seed=6, options={"evaluate_every": 2}),
    Run("short-intents-low-rate", INTENTS, 48, 24, 3, 5e-5, "still_learning", seed=2),
    Run("overfit-alpaca-16x16", ALPACA, 16, 10, 16, 6e-4, "overfitting", seed=7, batch_size=4),
    Run("good-intents-within-epochs", INTENTS, 80, 20, 3, 5e-4, "healthy", seed=4, options={"evaluate_every": 5}),
    Run("overfit-alpaca-20x14", ALPACA, 20, 12, 14, 1e-3, "overfitting", seed=3),
    Run("wrecked-intents-rate", INTENTS, 32, 12, 5, 0.05, "diverged", seed=2),
    Run("memorised-alpaca-unvalidated", ALPACA, 16, 0, 14, 1e-3, "memorised", seed=8, batch_size=4),
)


def rows_of(run: Run, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """What is trained on, validated on, and kept for the witness."""
    if run.data == ALPACA:
        rows = [
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]}
            for row in json.loads((folder / f"{ALPACA}.json").read_text(encoding="utf-8"))
            if len(question := f"{row['instruction']}\n{row['input']}".strip()) <= SHORT["question"]
            and SHORT["answer"][0] <= len(row["output"]) <= SHORT["answer"][1]
        ]
    else:
        path = ROOT / "fixtures" / "datasets" / f"{run.data}{'.train' if run.data == INTENTS else ''}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(run.seed)
    draw.shuffle(rows)
    trained, rest = rows[: run.rows], rows[run.rows :]
    if run.wrong_labels:
        labels = [row["messages"][-1]["content"] for row in trained]
        draw.shuffle(labels)
        for row, label in zip(trained, labels, strict=True):
            row["messages"][-1]["content"] = label
    return trained, rest[: run.validation_rows], rest[run.validation_rows :][:WITNESS_ROWS]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def record(run: Run, data: Path) -> dict[str, Any]:
    trained, validated, witnesses = rows_of(run, data)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        job = tuneport.submit(
            write(place / "train.jsonl", trained),
            model=MODEL,
            backend="local",
            validation=write(place / "validation.jsonl", validated) if validated else False,
            method="sft",
            adapter="lora",
            hyperparameters={
                "epochs": run.epochs,
                "learning_rate": run.learning_rate,
                "batch_size": run.batch_size,
                "lora_rank": run.lora_rank,
                "lora_dropout": 0.0,
            },
            provider_options=run.options,
            seed=run.seed,
        )
        ended = "succeeded"
        try:
            job.wait()
        except tuneport.TuneportError as error:
            ended = str(error)
        points = [point.model_dump(mode="json", include=RECORDED, exclude_none=True) for point in job.metrics()]
        checkpoints = list(job.checkpoints())
        witness = witnessed(checkpoints, write(place / "witness.jsonl", witnesses)) if witnesses else None
        if job.tuned_model is not None:
            job.delete()
    points = [
        {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in point.items()}
        for point in points
    ]
    return {
        "run": asdict(run),
        "model": MODEL,
        "ended": ended,
        "witness": witness,
        "made_with": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        "points": points,
    }


def witnessed(checkpoints: Sequence[Checkpoint], rows: Path) -> dict[str, Any] | None:
    """Mean loss per row of the best checkpoint and of the last one, and how sure it is that they differ."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    best = next((one for one in checkpoints if one.best), None)
    if not checkpoints or best is None:
        return None
    settings = Settings.load()
    base = materialise_base_model(locate_base_model(MODEL, home=settings.home), home=settings.home)
    renderer = training_template_renderer(base, None)
    rendered = list(renderer.render_all(read_records(rows), path=str(rows)))

    def losses(checkpoint: Checkpoint) -> list[float]:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(checkpoint.path)).eval()
        found = []
        with torch.no_grad():
            for row in rendered:
                ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
                found.append(float(model(input_ids=ids, labels=labels).loss))
        return found

    last = max(checkpoints, key=lambda one: one.step)
    at_best, at_last = losses(best), losses(last)
    differences = [after - before for before, after in zip(at_best, at_last, strict=True)]
    draw = random.Random(0)
    means = sorted(sum(draw.choices(differences, k=len(differences))) / len(differences) for _ in range(2000))
    return {
        "rows": len(rendered),
        "best_step": best.step,
        "last_step": last.step,
        "loss_at_best": sum(at_best) / len(at_best),
        "loss_at_last": sum(at_last) / len(at_last),
        "difference_95": [means[49], means[1949]],
    }


def text_of(recorded: dict[str, Any]) -> str:
    """JSON with a line a point, so that a change of one is a line in a diff."""
    points = ",\n  ".join(json.dumps(point) for point in recorded.pop("points"))
    return f'{json.dumps(recorded, indent=1)[:-2]},\n "points": [\n  {points}\n ]\n}}\n'


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NAME")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--output", type=Path, default=ROOT / "fixtures" / "curves")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for run in RUNS:
        path = arguments.output / f"{run.name}.json"
        if path.exists() or (arguments.only and run.name not in arguments.only):
            continue
        recorded = record(run, arguments.data)
        print(
            f"{run.name}: {recorded['ended']}, {len(recorded['points'])} points, witness {recorded['witness']}",
            flush=True,
        )
        path.write_text(text_of(recorded), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
