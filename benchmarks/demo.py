"""What the demo reaches: exact match on the 80 held-out rows, mean over three seeds, and where its seconds go.

    python benchmarks/demo.py [--seeds 1 2 3] [--test fixtures/datasets/support_intents.fresh.jsonl] [--home FOLDER]

The rows of `--test` were written after the demo's settings were final: no choice was made by their scores.

Runs the workflow of `tuneport demo` as it is, in a home of its own, with the real child processes. The base model is
looked for in the usual home first, so that only training and evaluation are measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from tuneport.lifecycle.service import JobService
from tuneport.scoring.prompting import PromptingResult
from tuneport.settings import Settings
from tuneport.workflows.demo import DemoResult, DemoTraining, run_demo


def run(seed: int, home: Path, test: Path | None) -> dict[str, dict[str, float]]:
    """Scores (0 to 1) and seconds of one seed, by part of the demo."""
    parts: dict[str, dict[str, float]] = {}
    settings = Settings.load().model_copy(update={"home": home})
    with JobService(settings) as workspace:
        for stage in run_demo(workspace, seed=seed, test=test):
            match stage:
                case DemoTraining(seconds=seconds):
                    parts["training"] = {"seconds": seconds}
                case PromptingResult(name=name, score=score, seconds=seconds):
                    parts[name] = {"seconds": seconds, "exact_match": score.accuracy}
                case DemoResult(seconds=seconds):
                    parts["whole demo"] = {"seconds": seconds}
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--test", type=Path, help="other held-out rows; default: those of the demo")
    parser.add_argument("--home", type=Path, help="default: a folder that is deleted afterwards")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    arguments = parser.parse_args()
    home = arguments.home or Path(tempfile.mkdtemp(prefix="tuneport-benchmark-"))
    models = Settings.load().home / "models"
    if models.is_dir() and not (home / "models").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "models").symlink_to(models, target_is_directory=True)
    try:
        results = {}
        for seed in arguments.seeds:
            results[seed] = run(seed, home, arguments.test)
            if not arguments.json:
                print(f"seed {seed}: {describe(results[seed])}", flush=True)
    finally:
        if arguments.home is None:
            shutil.rmtree(home, ignore_errors=True)
    means = {
        part: {key: statistics.mean(result[part][key] for result in results.values()) for key in values}
        for part, values in results[arguments.seeds[0]].items()
    }
    if arguments.json:
        print(json.dumps({"seeds": results, "mean": means}, indent=2))
    else:
        print(f"mean: {describe(means)}")


def describe(parts: dict[str, dict[str, float]]) -> str:
    shown = []
    for part, values in parts.items():
        match = f"{values['exact_match']:.1%} in " if "exact_match" in values else ""
        shown.append(f"{part} {match}{values['seconds']:.0f} s")
    return ", ".join(shown)


if __name__ == "__main__":
    main()
