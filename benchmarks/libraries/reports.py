"""Reports as HTML: the time for an evaluation of 1,000 rows and for a comparison of costs, and what escapes them.

Run with the tree to measure: `PYTHONPATH=TREE/src python benchmarks/libraries/reports.py`. The first page includes the
import of the template library and the compilation of the templates; the others are medians of seven.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tuneport

TREE = Path(tuneport.__file__).parents[2]
sys.path.insert(0, str(TREE))

from tests.support.evaluations import evaluation, report  # noqa: E402
from tuneport.workflows.comparison.page import render_comparison_page  # noqa: E402
from tuneport.workflows.evaluation.report.page import render_evaluation_page  # noqa: E402

PACKAGE = Path(tuneport.__file__).parent
files = [
    "src/tuneport/pages/charts.py",
    "src/tuneport/pages/frame.py",
    "src/tuneport/pages/lines.py",
    "src/tuneport/pages/notebook.py",
    "src/tuneport/pages/templates.py",
    "src/tuneport/pages/text.py",
    "src/tuneport/serve/dashboard/new_job.py",
    "src/tuneport/serve/dashboard/pages.py",
    "src/tuneport/serve/dashboard/words.py",
    "src/tuneport/serve/rating/__init__.py",
    "src/tuneport/serve/local_pages/rating.py",
    "src/tuneport/workflows/checking/page.py",
    "src/tuneport/workflows/comparison/charts.py",
    "src/tuneport/workflows/comparison/page.py",
    "src/tuneport/workflows/evaluation/report/abilities.py",
    "src/tuneport/workflows/evaluation/report/answers.py",
    "src/tuneport/workflows/evaluation/report/benchmarks.py",
    "src/tuneport/workflows/evaluation/report/classes.py",
    "src/tuneport/workflows/evaluation/report/curves.py",
    "src/tuneport/workflows/evaluation/report/judgement.py",
    "src/tuneport/workflows/evaluation/report/page.py",
    "src/tuneport/workflows/evaluation/report/scores.py",
]
"""What is counted. The templates are not: they were markup before, in strings."""


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def median(work: Callable[[], object]) -> float:
    return round(statistics.median(seconds(work) for _ in range(7)), 4)


def escaped_by_hand() -> int:
    """Count the calls of an escaping function in the files: holes that one forgotten call would have opened."""
    there = [TREE / name for name in files if (TREE / name).exists()]
    return sum(len(re.findall(r"(?<!def )\b(?:html_text|escape_html|escape)\(", path.read_text())) for path in there)


def main() -> None:
    made = report(evaluation([300, 800], rows=1000))
    table = tuneport.compare(TREE / "fixtures/datasets/support_intents.train.jsonl")
    measures = {
        "seconds for the first report of a process": round(seconds(lambda: render_evaluation_page(made)), 4),
        "seconds for a report of 1,000 rows": median(lambda: render_evaluation_page(made)),
        "seconds for a comparison of costs": median(lambda: render_comparison_page(table)),
        "holes escaped by hand": escaped_by_hand(),
    }
    print(json.dumps({"part": "reports", "measures": measures}))


if __name__ == "__main__":
    main()
