"""The table of all cases that were run: a line for each request, a column for each fault, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

OK, BAD, NOT_RUN = ".", "F", " "


@dataclass
class Table:
    """Cells by provider, place (a request, or a write to the store) and fault; a cell without complaints is good."""

    cells: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def add(self, provider: str, place: str, fault: str, complaints: list[str]) -> None:
        self.cells[provider, place, fault] = complaints

    @property
    def bad(self) -> list[str]:
        return [
            f"{provider}: {fault} at {place}: {'; '.join(complaints)}"
            for (provider, place, fault), complaints in self.cells.items()
            if complaints
        ]

    def summary(self) -> str:
        return f"fault bench: {len(self.cells)} cases, {len(self.bad)} bad"

    def lines(self) -> Iterator[str]:
        """The faults are numbered, so that the table is no wider than a page."""
        faults = list(dict.fromkeys(fault for _, _, fault in self.cells))
        for number, fault in enumerate(faults):
            yield f"{number:3d} {fault}"
        for provider in dict.fromkeys(provider for provider, _, _ in self.cells):
            places = list(dict.fromkeys(place for name, place, _ in self.cells if name == provider))
            width = max(len(place) for place in places)
            yield ""
            yield f"{provider:{width}}  " + " ".join(f"{number:2d}" for number in range(len(faults)))
            for place in places:
                marks = [self._mark(provider, place, fault) for fault in faults]
                yield f"{place:{width}}  " + " ".join(f"{mark:>2}" for mark in marks)
        yield ""
        yield self.summary() + f" ({OK} as it must be, {BAD} not, blank: does not apply or was not run)"
        yield from self.bad

    def _mark(self, provider: str, place: str, fault: str) -> str:
        complaints = self.cells.get((provider, place, fault))
        return NOT_RUN if complaints is None else BAD if complaints else OK


TABLE = Table()
"""Of this process: what pytest prints at its end."""
