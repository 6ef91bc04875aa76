"""Two models' answers of an evaluation as the file that `tuneport rate` shows people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.scoring.people.answers import write_pairs_for_raters
from tuneport.workflows.evaluation.answering import EvaluationAnswer

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.result import Evaluation


def write_rating_pairs(found: Evaluation, path: Path) -> None:
    """Write the first model's answers beside the last one's, row by row, with the expected answer as the reference.

    An answer that a provider refused is empty here, as it is for the metrics. Raises StorageError if the file cannot be
    written.
    """
    first, last = found.models[0], found.models[-1]
    rows = zip(found.held_out.lines, found.held_out.rows, first.said, last.said, strict=True)
    write_pairs_for_raters(
        path,
        {"a": first.asked.name, "b": last.asked.name},
        (
            {
                "id": f"line {line}",
                "prompt": row.messages,
                "answer_a": _answer(one),
                "answer_b": _answer(other),
                **({"reference": row.expected} if row.expected else {}),
            }
            for line, row, one, other in rows
        ),
    )


def _answer(said: EvaluationAnswer) -> str | dict[str, Any]:
    if not said.tool_calls:
        return said.text
    return {"role": "assistant", "content": said.text or None, "tool_calls": said.tool_calls}
