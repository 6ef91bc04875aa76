"""The view of a preview: in colour on a terminal, elsewhere with «marks» around what is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from tuneport.cli.views import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.preview import Preview, PreviewRow, PreviewSegment

_STYLES = {"context": "dim", "trained": "bold green", "chosen": "bold green", "rejected": "bold red"}
_MARKS = {"context": ("", ""), "trained": ("«", "»"), "chosen": ("«", "»"), "rejected": ("‹", "›")}


def print_preview(preview: Preview, *, tokens: bool = False, console: Console | None = None) -> None:
    """Print the rows, then remarks on all of them, then the totals. `tokens` shows each token of a rendered row."""
    console = console or output.console()
    for row in preview.rows:
        console.print(Text(_heading(row), style="bold"))
        if row.segments and tokens:
            _print_tokens(row, console)
        elif row.segments:
            _print_text(row, console)
        elif row.uploaded is not None:
            console.print(Text(_visible(row.uploaded)), soft_wrap=True)
        for loss in row.losses:
            left_out = row.uploaded is None and not row.segments
            console.print(Text(f"{'left out' if left_out else 'lost'}: {loss}", style="red"))
        console.print()
    _print_common_remarks(preview, console)
    console.print(Text(_totals(preview), style="bold"))


def _print_text(row: PreviewRow, console: Console) -> None:
    shown = Text()
    for segment in row.segments:
        before, after = _MARKS[segment.kind] if not console.is_terminal else ("", "")
        if segment.kind in ("chosen", "rejected"):
            shown.append(f"\n{segment.kind}: ", style="bold")
        shown.append(before + _visible(segment.text) + after, style=_STYLES[segment.kind])
    if row.cut:
        shown.append(f" … {row.cut:,} tokens cut off", style="bold yellow")
    console.print(shown, soft_wrap=True)


def _print_tokens(row: PreviewRow, console: Console) -> None:
    for segment in row.segments:
        for ids, piece in _characters(segment):
            line = f"{ids:>8} {segment.kind:<8}  {piece!r}"
            console.print(Text(line, style=_STYLES[segment.kind]), soft_wrap=True)


def _characters(segment: PreviewSegment) -> Iterator[tuple[str, str]]:
    """Yield numbers and text of each token; tokens that make up one character come together."""
    together: list[str] = []
    for token, piece in zip(segment.ids, segment.pieces, strict=True):
        together.append(str(token))
        if piece:
            yield " ".join(together), piece
            together = []
    if together:
        yield " ".join(together), ""


def _heading(row: PreviewRow) -> str:
    parts = [row.at, f"{row.tokens:,} tokens"]
    if row.trained_tokens is not None:
        parts.append(f"{row.trained_tokens:,} in the loss")
    if row.cut:
        parts.append(f"{row.cut:,} over the limit and cut")
    return ", ".join(parts)


def _print_common_remarks(preview: Preview, console: Console) -> None:
    if preview.rendered and not console.is_terminal:
        pairs = ", ‹trained away from›" if preview.method.value == "dpo" else ""
        console.print(f"«in the loss»{pairs}; the rest is context")
    for note in preview.notes:
        console.print(Text(f"note: {note}"))
    if preview.left_out:
        console.print(Text(f"WARNING: not used, the model will not see: {', '.join(preview.left_out)}"))
    for loss in preview.losses:
        console.print(Text(f"lost: {loss}", style="red"))
    if preview.losses:
        to = preview.target_format
        console.print(Text(f"`submit` refuses this; `tuneport convert --to {to} --allow-loss` writes what can be kept"))


def _totals(preview: Preview) -> str:
    many = output.counted(preview.records, "record")
    among = many if preview.complete else f"the {many} looked at"
    about = "about " if preview.low != preview.high else ""
    told = f"{preview.model} on {preview.backend}: {among}, {about}{preview.tokens:,} tokens"
    if preview.trained_tokens is not None:
        share = preview.trained_tokens / preview.tokens if preview.tokens else 0
        return f"{told}, {preview.trained_tokens:,} in the loss ({share:.0%}), each epoch"
    between = f" ({preview.low:,} to {preview.high:,})" if about else ""
    return f"{told}{between} billed each epoch, uploaded as {preview.target_format}"


def _visible(text: str) -> str:
    """Return the text with control characters escaped: a dataset may not control the terminal."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
