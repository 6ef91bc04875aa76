"""The built-in general-ability set on a small base model, and on runs of it that should and should not have forgotten.

    python benchmarks/general_ability.py [--runs healthy wrecked] [--rows 64] [--items] [--lengths] [--no-written]

First the base model: right answers per ability and way of asking, with Wilson's 95 % interval, beside what guessing
gets. `--items` prints each answer. Then each of `--runs` is trained on the first `--rows` rows of the demo's data, by
the local backend as it is, and compared with the base model: `healthy` with a usual rate, `wrecked` with one that no
model survives.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tuneport.lifecycle.service import JobService
from tuneport.scoring.general import (
    ANSWER_TOKENS,
    AnsweredItem,
    GeneralAbilityComparison,
    compare_general_ability,
    load_general_items,
    score_general_items,
)
from tuneport.scoring.general.comparison import GeneralItemShare
from tuneport.scoring.prompting import make_scoring_completer
from tuneport.settings import Settings
from tuneport.types import Adapter, Hyperparameters, TuneSpec
from tuneport.workflows.demo import demo_dataset_path

BASE = "smollm2-135m-instruct"
RUNS = {
    "healthy": Hyperparameters(learning_rate=2e-4, epochs=3, batch_size=8),
    "as the demo": Hyperparameters(learning_rate=1e-3, epochs=4, batch_size=8),
    "wrecked": Hyperparameters(learning_rate=1e-2, epochs=2, batch_size=8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BASE, help="a base model that the local backend runs")
    parser.add_argument("--runs", nargs="*", default=[], choices=RUNS, help="what to train and compare")
    parser.add_argument("--rows", type=int, default=64, help="rows to train on")
    parser.add_argument("--items", action="store_true", help="print each item's answer")
    parser.add_argument("--lengths", action="store_true", help="print what other ways of ranking choices would give")
    parser.add_argument("--no-written", dest="written", action="store_false", help="only by likelihood")
    parser.add_argument("--home", type=Path, help="default: a folder that is deleted afterwards")
    arguments = parser.parse_args()
    home = arguments.home or Path(tempfile.mkdtemp(prefix="tuneport-benchmark-"))
    models = Settings.load().home / "models"
    if models.is_dir() and not (home / "models").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "models").symlink_to(models, target_is_directory=True)
    try:
        with JobService(Settings.load().model_copy(update={"home": home})) as workspace:
            base = judged(workspace, arguments.model, arguments)
            print(table(base), flush=True)
            if arguments.lengths:
                print(f"\n{lengths(workspace, arguments.model)}", flush=True)
            for name in arguments.runs:
                tuned = trained(workspace, name, arguments)
                print(
                    f"\n{name}: {changes(compare_general_ability(base, judged(workspace, tuned, arguments)))}",
                    flush=True,
                )
    finally:
        if arguments.home is None:
            shutil.rmtree(home, ignore_errors=True)


def judged(workspace: JobService, model: str, arguments: argparse.Namespace) -> list[AnsweredItem]:
    started = time.monotonic()
    backend = workspace.backend("local")
    complete = make_scoring_completer(backend, model, most_tokens=ANSWER_TOKENS) if arguments.written else None
    found = score_general_items(rank=lambda asked, choices: backend.score(model, asked, choices), complete=complete)
    print(f"\n{model}: {len(found)} answers in {time.monotonic() - started:.0f} s", flush=True)
    if arguments.items:
        for item in found:
            print(f"{'right' if item.right else 'WRONG'} {item.way:10} {item.id:16} {item.ask!r} -> {item.answer!r}")
    return found


def table(judged: Sequence[AnsweredItem]) -> str:
    rows = [
        "| ability | asked | right | share | 95 % interval | by chance |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    for (ability, way), group in groupby(judged, key=lambda item: (item.ability, item.way)):
        items = list(group)
        share = GeneralItemShare(sum(item.right for item in items), len(items))
        low, high = share.interval
        shown = f"{share.right} of {share.total} | {share.share:.0%} | {low:.0%} to {high:.0%} | {items[0].chance:.0%}"
        rows.append(f"| {ability} | {way} | {shown} |")
    return "\n".join(rows)


def changes(comparison: GeneralAbilityComparison) -> str:
    rows = [
        comparison.sentence,
        "",
        "| ability | asked | base | tuned | difference, 95 % interval | adjusted p | verdict |",
    ]
    rows.append("| --- | --- | ---: | ---: | --- | ---: | --- |")
    for change in comparison.changes:
        found = change.difference
        moved = f"{100 * found.value:+.0f} points ({100 * found.low:+.0f} to {100 * found.high:+.0f})"
        shares = f"{change.base.share:.0%} | {change.tuned.share:.0%}"
        rows.append(
            f"| {change.ability} | {change.way} | {shares} | {moved} | {found.adjusted_p:.2g} | {change.verdict} |"
        )
    return "\n".join(rows)


def lengths(workspace: JobService, model: str) -> str:
    """Right by the sum over a choice's tokens, by that divided by the choice's bytes, and by the bare answers' sum."""
    right: dict[str, list[int]] = {}
    for item in load_general_items().questions:
        chat = [{"role": "user", "content": item.ask}]
        (sums,) = workspace.backend("local").score(model, [chat], item.choices)
        (bare,) = workspace.backend("local").score(model, [chat], item.shown)
        by_byte = [value / len(choice.encode()) for value, choice in zip(sums, item.choices, strict=True)]
        counts = right.setdefault(item.ability, [0, 0, 0, 0])
        for column, values in enumerate((sums, by_byte, bare)):
            counts[column] += max(range(len(values)), key=values.__getitem__) == item.right
        counts[3] += 1
    rows = ["| ability | sum | by byte | bare answers | items |", "| --- | ---: | ---: | ---: | ---: |"]
    return "\n".join([*rows, *(f"| {name} | {' | '.join(map(str, counts))} |" for name, counts in right.items())])


def trained(workspace: JobService, name: str, arguments: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text(
            "".join(demo_dataset_path("train").read_text(encoding="utf-8").splitlines(True)[: arguments.rows])
        )
        spec = TuneSpec(
            model=arguments.model,
            dataset=rows,
            adapter=Adapter.LORA,
            seed=1,
            hyperparameters=RUNS[name],
            suffix="general",
        )
        row = workspace.drive(workspace.submit(spec, backend="local").id, poll_seconds=0.5)
    state = row.job_state
    if row.status != "succeeded" or state is None or state.tuned_model is None:
        raise SystemExit(f"the run {name!r} {row.status}: {row.job_error}")
    return state.tuned_model


if __name__ == "__main__":
    main()
