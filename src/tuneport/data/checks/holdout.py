"""Is anything held out, enough of it, and none of it in the training data?"""

from __future__ import annotations

from pathlib import Path

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Example, Finding, Verdict, excerpt, records
from tuneport.data.checks.sketch import SketchIndex, sketch
from tuneport.data.reading import read_records
from tuneport.data.text import key_of, split_answer, written_out

MIN_SHARE = 0.05  # of all rows; the reference card says to hold out 10 to 20 %


class HoldOut:
    """Looks for the training inputs in the validation file, exactly and nearly. Without a file it says so."""

    def __init__(self, path: Path, validation: Path | None) -> None:
        self._path, self._validation = path, validation
        self._lines: dict[int, int] = {}
        self._near = SketchIndex()
        self._rows = self._held_out = 0
        self._found: list[Evidence] = []
        self._leaks: set[int] = set()
        if validation is not None:
            self._read(validation)

    def _read(self, validation: Path) -> None:
        for line, record in read_records(validation):
            question = written_out(split_answer(record)[0], system=False)
            self._held_out += 1
            self._lines.setdefault(key_of(question), line)
            self._near.add(line, sketch(question))

    def add(self, example: Example) -> None:
        self._rows += 1
        if self._validation is None:
            return
        line, how = self._lines.get(key_of(example.question)), "the same input"
        if line is None:
            similar = self._near.nearest(sketch(example.question))
            if similar is None:
                return
            line, how = similar.line, f"an input {similar.similarity:.0%} alike"
        self._leaks.add(line)
        if len(self._found) < MAX_EVIDENCE:
            text = f"{how} is on line {line} of {self._validation.name}: {excerpt(example.question)}"
            self._found.append(Evidence((example.line,), text))

    def finding(self) -> Finding:
        if self._validation is None:
            fix = f"hold out 10 to 20 %: `tuneport split {self._path}`"
            return Finding("hold-out", Verdict.WARN, "nothing is held out to judge the result by", fix=fix)
        share = self._held_out / max(1, self._held_out + self._rows)
        details = {"held_out": self._held_out, "share": round(share, 3), "leaks": len(self._leaks)}
        message = f"{records(self._held_out)} held out ({share:.0%})"
        if self._leaks:
            message += f", {len(self._leaks):,} of them leak: they are in the training data"
            fix = "remove them from one of the files, or split again"
            return Finding("hold-out", Verdict.FAIL, message, tuple(self._found), fix, len(self._leaks), details)
        if share < MIN_SHARE:
            fix = "hold out 10 to 20 %"
            return Finding("hold-out", Verdict.WARN, f"{message}, which is little", fix=fix, details=details)
        return Finding("hold-out", Verdict.PASS, f"{message}, none of it in the training data", details=details)
