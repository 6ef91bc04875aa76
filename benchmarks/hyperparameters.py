"""Whether the recommended hyperparameters train as well as the best of a small grid, on the rows of real datasets.

    python benchmarks/hyperparameters.py --data FILE:TOKENS [--data FILE:TOKENS ...] [--tokens 4000] [--seeds 3]

For each dataset the same rows are trained with the numbers that `estimate/hyperparameters.py` recommends for them,
and at each point of a grid of learning rates and epochs around which everything else is as recommended. Each point is
tuneport's own recipe (LoRA on all linear layers, SmolLM2-135M-Instruct) from the same seed and the same order, and
its score is the loss per answer token of held-out rows at the end of its training; of the recommended run, which has
a validation file and `epochs` auto and so keeps its best epoch, that of the epoch it keeps. Of preference pairs the
better answers are learned. Rows longer than TOKENS are left out, and only so many are taken that a point takes a
minute or two: in a shuffled order, up to `--tokens` to train on, and after them up to `--held-out-tokens`. With more
than one seed, each has an order of its own, so other rows on both sides, and a score is the mean over the seeds.

Each finished point is written to `--cache` at once, and a later run takes it from there: a run that was stopped goes on
where it was; `--finished` trains nothing and shows what there is. `--markdown` prints the tables for RESULTS.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it finds its neighbours
from tuneport.base_models import choose_base_model_device, locate_base_model, materialise_base_model  # noqa: E402
from tuneport.data.reading import read_records  # noqa: E402
from tuneport.data.rows.records import Chat, Preference, Record  # noqa: E402
from tuneport.data.templates.rendering import RenderedExample  # noqa: E402
from tuneport.data.tokens.tokenizer import training_template_renderer  # noqa: E402
from tuneport.estimate.hyperparameters import recommend_hyperparameters  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.types import Adapter, Hyperparameters, Method  # noqa: E402

MODEL, PARAMS_B = "smollm2-135m-instruct", 0.1345
RATES, EPOCHS = (1e-4, 3e-4, 1e-3), (2, 4)
GOAL = 0.05


@dataclass(frozen=True)
class Rows:
    """Of one dataset and one seed: what is trained on and what is held out, and their fingerprint."""

    name: str
    seed: int
    training: list[RenderedExample]
    held_out: list[RenderedExample]

    @property
    def fingerprint(self) -> str:
        ids = [[row.input_ids, row.labels] for row in [*self.training, *self.held_out]]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def rows_of(data: str, seed: int, renderer: Any, arguments: argparse.Namespace) -> Rows:
    name, _, longest = data.rpartition(":")
    if not longest.isdecimal():
        sys.exit(f"--data {data} is not FILE:TOKENS")
    path = Path(name)
    records = ((place, supervised(record)) for place, record in read_records(path))
    short = [row for row in renderer.render_all(records, path=str(path)) if row.useful_length <= int(longest)]
    random.Random(seed).shuffle(short)
    ends = list(accumulate(row.useful_length for row in short))
    trained, known = (bisect_right(ends, limit) for limit in (arguments.tokens, arguments.tokens + arguments.held_out))
    if known == len(short) and ends[-1] < arguments.tokens + arguments.held_out / 2:
        sys.exit(f"{path.name} has too few rows of up to {longest} tokens: {ends[-1]:,} tokens together")
    return Rows(path.name.partition(".")[0], seed, short[:trained], short[trained:known])


def supervised(record: Record) -> Record:
    return Chat([*record.context, *record.chosen]) if isinstance(record, Preference) else record


def recommended(rows: Rows, given: dict[str, Any] | None = None) -> dict[str, Any]:
    chosen = recommend_hyperparameters(
        Hyperparameters(**(given or {})),
        rows=len(rows.training),
        params_b=PARAMS_B,
        adapter=Adapter.LORA,
        longest_tokens=max(row.useful_length for row in rows.training),
        keeps_best=True,
    )
    return {name: row.value for name, row in chosen.items()}


def points(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    own = recommended(rows)
    yield "recommended", own | {"keeps_best": True}
    for rate in RATES:
        for epochs in EPOCHS:
            yield "grid", own | {"learning_rate": rate, "epochs": epochs}


def trained(folder: Path, renderer: Any, rows: Rows, numbers: dict[str, Any], keeps_best: bool) -> dict[str, float]:
    """The loss per answer token of the held-out rows after training, or of its best epoch, and the seconds it took."""
    from transformers import TrainerCallback

    from tuneport.estimate.settling import PATIENCE
    from tuneport.train.methods.sft import sft_trainer
    from tuneport.train.model.arguments import TrainingRecipe
    from tuneport.train.run.reporting import TrainedTokenCounter
    from tuneport.training_options import TrainingOptions

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as working:
        recipe = TrainingRecipe(
            method=Method.SFT,
            folder=folder,
            device=choose_base_model_device(),
            adapter=Adapter.LORA,
            numbers=numbers,
            options=TrainingOptions(),
            seed=rows.seed,
            validates=True,
            working=Path(working),
            note=lambda text: print(text, file=sys.stderr),
        )
        trainer = sft_trainer(recipe, renderer, rows.training, rows.held_out, TrainedTokenCounter())
        before = trainer.evaluate()["eval_loss"]
        each: list[float] = []

        class Epochs(TrainerCallback):
            """As `train/run/checkpoints.py` does it in a run."""

            def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                control.should_evaluate = True

            def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **rest: Any) -> None:
                each.append(metrics["eval_loss"])
                control.should_training_stop = len(each) - each.index(min(each)) > PATIENCE

        if keeps_best:
            trainer.add_callback(Epochs())
        trainer.train()
        loss = min(each) if keeps_best else trainer.evaluate()["eval_loss"]
    return {"loss": loss, "before": before, "seconds": time.monotonic() - started}


class Finished:
    """The points that were trained, by what they were trained on and with; a line a point."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.points = {row["key"]: row for row in map(json.loads, lines)}

    @staticmethod
    def key(rows: Rows, numbers: dict[str, Any]) -> str:
        return json.dumps([rows.fingerprint, MODEL, rows.seed, sorted(numbers.items())])

    def find(self, rows: Rows, numbers: dict[str, Any]) -> dict[str, Any] | None:
        return self.points.get(self.key(rows, numbers))

    def add(self, rows: Rows, numbers: dict[str, Any], result: dict[str, float]) -> dict[str, Any]:
        point: dict[str, Any] = {"key": self.key(rows, numbers), "data": rows.name, **result}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        self.points[point["key"]] = point
        return point


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads
    home = Settings.load().home
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", metavar="FILE:TOKENS", action="append", required=True, help="a file, and the longest row taken"
    )
    parser.add_argument("--tokens", type=int, default=4000, help="of the rows to train on, together")
    parser.add_argument("--held-out-tokens", dest="held_out", type=int, default=1600)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=home / "cache" / "benchmarks" / "hyperparameters.jsonl")
    parser.add_argument("--finished", action="store_true", help="show the points of the cache, train none")
    parser.add_argument("--markdown", action="store_true", help="print the tables for RESULTS.md")
    arguments = parser.parse_args()
    folder = materialise_base_model(locate_base_model(MODEL, home=home), home=home)
    renderer = training_template_renderer(folder, None)
    finished = Finished(arguments.cache)
    found = []
    for data in arguments.data:
        seeds = [rows_of(data, seed, renderer, arguments) for seed in range(1, arguments.seeds + 1)]
        results = []
        for kind, numbers in points(seeds[0]):
            scores, plain = [], {name: value for name, value in numbers.items() if name != "keeps_best"}
            keeps_best = "keeps_best" in numbers
            for rows in seeds:
                train = None if arguments.finished else partial(trained, folder, renderer, rows, plain, keeps_best)
                scores.append(score(rows, numbers, finished, train=train))
            results.append((kind, numbers, mean(scores)))
        found.append((seeds, results))
    print_table(found, markdown=arguments.markdown)


def score(
    rows: Rows, numbers: dict[str, Any], finished: Finished, *, train: Callable[[], dict[str, float]] | None
) -> dict[str, Any] | None:
    """Of one seed, from the cache or trained now; None where it is not there and is not to be trained."""
    point = finished.find(rows, numbers)
    if point is None and train is not None:
        point = finished.add(rows, numbers, train())
    if point is not None:
        print(
            f"{rows.name:<26} seed {rows.seed} rate {numbers['learning_rate']:<7g} epochs {numbers['epochs']} "
            f"batch {numbers['batch_size']:<3} loss {point['before']:.3f} -> {point['loss']:.3f} "
            f"({point['seconds']:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
    return point


def mean(scores: Sequence[dict[str, Any] | None]) -> dict[str, float] | None:
    """Over the seeds, once all are there."""
    known = [point for point in scores if point is not None]
    if len(known) < len(scores):
        return None
    return {name: sum(point[name] for point in known) / len(known) for name in ("before", "loss")}


Results = list[tuple[str, dict[str, Any], dict[str, float] | None]]


def print_table(found: Sequence[tuple[list[Rows], Results]], *, markdown: bool) -> None:
    head = [
        "data",
        "rows, held out",
        "before",
        "recommended",
        *(f"{rate:g} x {epochs}" for rate in RATES for epochs in EPOCHS),
        "over the best",
    ]
    lines = [head]
    for (rows, *others), results in found:
        (_, numbers, own), *grid = results
        losses = [None if point is None else point["loss"] for _, _, point in grid]
        known = [loss for loss in losses if loss is not None]
        if own is None or not known:
            continue
        best = min(known)
        missed = "" if own["loss"] <= best * (1 + GOAL) else " MISSED"
        lines.append(
            [
                rows.name,
                f"{len(rows.training)}, {len(rows.held_out)}" + (f", {len(others) + 1} seeds" if others else ""),
                f"{own['before']:.3f}",
                f"{own['loss']:.3f} ({numbers['learning_rate']:g} x {numbers['epochs']})",
                *("not run" if loss is None else f"{loss:.3f}" for loss in losses),
                f"{own['loss'] / best - 1:+.1%}{missed}"
                + ("" if len(known) == len(grid) else f" ({len(known)} points)"),
            ]
        )
    if markdown:
        lines.insert(1, ["---", *["---:"] * (len(head) - 1)])
    for line in lines:
        print("| " + " | ".join(line) + " |" if markdown else "  ".join(f"{cell:>14}" for cell in line))


if __name__ == "__main__":
    main()
