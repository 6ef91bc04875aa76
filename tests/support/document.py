"""A page as a parser reads it, and texts that try to be more than text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

from tuneport.pages.templates import page_templates

HOSTILE = [
    "<script>document.title='owned'</script>",
    "</title></style></script><img src=x onerror=\"document.title='owned'\">",
    "'\"`&amp;{{charts}} {{title}}",
    "\u202egnp.exe \u2067שלום עולם",
    "👩‍👩‍👧‍👦 \x00\x08\x85 \ud800 tab\tline\nend",
    "x" * 10_000,
    'javascript:alert(1)//" onmouseover="alert(1)" x=\'`',
]
AFTER = """ --><script>'"><img src=x onerror="alert(1)" onfocus=alert(1) x='` {{ 7 * 7 }}"""
VOID = {"meta", "img", "br"}


class Document(HTMLParser):
    """Elements, their attributes and their text; fails where one is closed that is not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def structure(self) -> list[tuple[str, list[str]]]:
        """The elements with the names of their attributes: what no text may change."""
        return [(tag, list(attributes)) for tag, attributes in self.elements]

    def expect_no_way_out(self) -> None:
        """Nothing that runs, loads or sends; links lead out only where a person follows them."""
        assert not {"script", "img", "iframe", "link", "object", "form", "base"} & {tag for tag, _ in self.elements}
        for tag, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
            assert "href" not in attributes or (tag == "a" and (attributes["href"] or "").startswith("https://"))


@contextmanager
def hostile_holes() -> Iterator[None]:
    """Within, templates write a hostile text after everything that they fill in."""
    templates = page_templates()
    finalize = templates.finalize
    assert finalize is not None

    def finalized(value: Any) -> Any:
        return value if hasattr(value, "__html__") else f"{finalize(value)}{AFTER}"

    templates.finalize = finalized
    try:
        yield
    finally:
        templates.finalize = finalize
