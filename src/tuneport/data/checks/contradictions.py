"""The same input with different answers."""

from __future__ import annotations

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Example, Finding, Verdict, excerpt
from tuneport.data.checks.task import TaskGuess
from tuneport.data.text import key_of


class Contradictions:
    """Inputs count as the same with case and space aside, their system prompt included."""

    def __init__(self, task: TaskGuess) -> None:
        self._task = task
        self._first: dict[int, tuple[int, int, str]] = {}
        self._found: list[Evidence] = []
        self._inputs: set[int] = set()
        self._count = 0

    def add(self, example: Example) -> None:
        if not example.question.strip():
            return
        key, answer = key_of(example.context), key_of(example.answer)
        first = self._first.setdefault(key, (answer, example.line, example.answer[:400]))
        if first[0] == answer:
            return
        self._count += 1
        self._inputs.add(key)
        if len(self._found) < MAX_EVIDENCE:
            answers = f"{excerpt(first[2], 80)!r} and {excerpt(example.answer, 80)!r}"
            text = f"{excerpt(example.question, 80)!r} is answered {answers}"
            self._found.append(Evidence((first[1], example.line), text))

    def finding(self) -> Finding:
        if not self._count:
            return Finding("contradictions", Verdict.PASS, "no input has two different answers")
        inputs = len(self._inputs)
        message = f"{inputs:,} input{'s' if inputs != 1 else ''} with different answers"
        # Two good answers to an open question are variety; two labels for one text are a mistake.
        verdict = Verdict.FAIL if self._task.name in ("classification", "extraction") else Verdict.WARN
        return Finding(
            "contradictions", verdict, message, tuple(self._found), "keep the right answer of each", self._count
        )
