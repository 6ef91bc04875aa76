"""The preview of what a backend would train on: its tokens with those in the loss, or the file that would be
uploaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from tuneport.data.containers.source import RowSource
from tuneport.data.conversion.conversion_loss import ConversionLossReport, write_converted_row
from tuneport.data.conversion.prepare import dataset_upload_format, strip_untrained_row_fields
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import DatasetFormat, Unrepresentable
from tuneport.data.reading import RowProblemTally, scan_dataset_rows
from tuneport.data.rows.kinds import record_without_mark
from tuneport.data.rows.records import Record
from tuneport.data.templates.rendering import (
    IGNORED,
    RenderedAnswer,
    RenderedExample,
    RenderedPreference,
    RenderedPrompt,
    TemplateRenderer,
)
from tuneport.data.tokens.tokenizer import training_template_renderer
from tuneport.data.tokens.tokens import OTHER_VOCABULARY, TokenCounter
from tuneport.errors import ConfigError, ConversionLoss, UnsupportedError
from tuneport.formatting import number
from tuneport.lifecycle.planning.planning import DEFAULT_ENCODING
from tuneport.manifests import find_manifest_model
from tuneport.pages.notebook import render_notebook_view
from tuneport.settings import Settings
from tuneport.types import LossOn, Method
from tuneport.workflows.target import find_target_model

RENDERED_RECORDS = 2_000
"""Records rendered for a local model's totals: a second or two, and enough for a share of trained tokens."""

AnyRendered = RenderedExample | RenderedPreference | RenderedAnswer | RenderedPrompt
NO_CHARACTER = "\ufffd"
"""The character that bytes of an incomplete character are decoded to."""
MOST_TOKENS_OF_A_CHARACTER = 4  # UTF-8 has no more bytes

Kind = Literal["context", "trained", "chosen", "rejected"]


@dataclass(frozen=True)
class PreviewSegment:
    """Neighbouring tokens of one kind; only `context` is not in the loss. `pieces` are the tokens one by one; where
    several make up a character, the last has it and the others are empty."""

    kind: Kind
    text: str
    ids: list[int]
    pieces: list[str]


@dataclass(frozen=True)
class PreviewRow:
    """One record. Locally it has `segments`; for a hosted backend `uploaded`, the line of the file, or None if it is
    left out.

    `at` is its position as text; `tokens` counts what is billed, or what the model reads; `cut` is how many were over
    the limit.
    """

    line: int
    at: str
    tokens: int
    trained_tokens: int | None
    cut: int
    segments: tuple[PreviewSegment, ...]
    uploaded: str | None
    losses: tuple[str, ...]

    @property
    def shown(self) -> str:
        """Return its text, what is in the loss in « », or else the line that is uploaded."""
        text = "".join(each.text if each.kind == "context" else f"«{each.text}»" for each in self.segments)
        return text or self.uploaded or "left out"


@dataclass(frozen=True)
class Preview:
    """A preview of `records` records: all, if it is `complete`. The totals are theirs, for one epoch.

    `tokens` lies between `low` and `high`, which differ only if the count is an estimate; `notes` say why.
    """

    dataset: Path
    backend: str
    model: str
    method: Method
    source_format: str
    target_format: str
    rendered: bool
    limit: int | None
    rows: tuple[PreviewRow, ...]
    records: int
    complete: bool
    tokens: int
    low: int
    high: int
    trained_tokens: int | None
    losses: tuple[ConversionLoss, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Preview({self.model!r} on {self.backend!r}, {self.records:,} records, {self.tokens:,} tokens)"

    def _repr_html_(self) -> str:
        facts = [
            ("method", self.method.value),
            ("format", self.source_format if self.rendered else f"{self.source_format} to {self.target_format}"),
            ("records", f"{self.records:,}" if self.complete else f"the first {self.records:,}"),
            ("tokens an epoch", f"{self.tokens:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"),
            ("in the loss", number(self.trained_tokens)),
        ]
        rows = [(row.at, number(row.tokens), number(row.trained_tokens), row.shown) for row in self.rows]
        notes = [*self.notes, *(f"left out: {each}" for each in self.left_out), *map(str, self.losses)]
        head = (
            "record",
            "tokens",
            "in the loss",
            "as it is trained on; « » is in the loss" if self.rendered else "line",
        )
        return render_notebook_view(f"{self.dataset.name} for {self.model}", facts, head=head, rows=rows, notes=notes)

    def as_dict(self) -> dict[str, Any]:
        rows = [{**vars(row), "segments": [vars(segment) for segment in row.segments]} for row in self.rows]
        return {
            **vars(self),
            "dataset": str(self.dataset),
            "method": self.method.value,
            "rows": rows,
            "losses": [vars(loss) for loss in self.losses],
        }


@dataclass(frozen=True)
class _Converted:
    """A record on its way: as it was read, without what is never trained on, and as the line of the prepared file."""

    line: int
    at: str
    record: Record
    row: bytes | None
    lost: list[Unrepresentable]


def preview(
    dataset: DatasetLike,
    *,
    model: str,
    backend: str | None = None,
    rows: int = 3,
    line: int | None = None,
    max_length: int | None = None,
    loss_on: LossOn = "assistant",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Preview:
    """Convert and render records just as `submit` and the trainer do, and show `rows` of them, from `line` on.

    Nothing is uploaded and no weights are loaded. It raises what `submit` or the trainer would raise: DatasetError,
    UnsupportedError, ModelNotOfferedError, ConfigError. Losses of the conversion are shown instead of raised. `columns`
    maps the names that the format expects to those in the file (`--map`). `loss_on` is the local backend's option;
    another backend decides for itself.
    """
    settings, data = settings or Settings.load(), Dataset.of(dataset, columns, format)
    where = find_target_model(model, backend, settings)
    known, source, method = data.known, data.open(), data.method
    target = load_dataset_format(
        dataset_upload_format(method, known.NAME, where.manifest.data_format, where.manifest.also_takes)
    )
    vocabulary = where.nearest_tokenizer(settings, method)
    losses, left_out = ConversionLossReport(), dict[str, None]()
    kept: list[_Converted] = []
    shown: list[_Converted] = []
    complete = True
    local = vocabulary.folder is not None
    if loss_on != "assistant" and not local:
        raise UnsupportedError(f"{where.manifest.title} decides itself what the loss is on; leave loss_on out")
    limits = [limit for limit in (max_length, vocabulary.context) if limit is not None]
    counter = TokenCounter(DEFAULT_ENCODING if local else vocabulary.name, context=min(limits, default=None))
    records = _converted(source, known, target, losses, left_out, keep_unliked=data.reading.keep_unliked)
    for index, converted in enumerate(records):
        counted = not local or index < RENDERED_RECORDS
        if not counted and len(shown) == rows:
            complete = False
            break
        wanted = len(shown) < rows and converted.line >= (line or 1)
        if wanted:
            shown.append(converted)
        if not local and converted.row is not None:
            counter.add(converted.line, converted.record)
        elif counted or wanted:
            kept.append(converted)
        complete = complete and (counted or wanted)
    if not shown:
        at = source.numbering.words([line or 1])
        raise ConfigError(f"{data.path} has nothing at {at} or after it; name an earlier line")
    common: dict[str, Any] = {
        "dataset": data.path,
        "backend": where.manifest.name,
        "model": where.model,
        "method": method,
        "source_format": known.NAME,
        "target_format": target.NAME,
        "complete": complete,
        "losses": losses.losses(source.numbering),
        "left_out": tuple(left_out),
    }
    read = list(source.notes)
    if vocabulary.folder is not None:
        renderer = training_template_renderer(vocabulary.folder, max_length, loss_on)
        renderer.words = source.numbering.words
        return _rendered(renderer, target, kept, shown, common, read)
    offered = find_manifest_model(where.manifest, where.model)
    return _uploaded(counter, shown, common, read, own_vocabulary=offered is not None and offered.encoding is not None)


def _rendered(
    renderer: TemplateRenderer,
    target: DatasetFormat,
    kept: list[_Converted],
    shown: list[_Converted],
    common: dict[str, Any],
    notes: list[str],
) -> Preview:
    # Read back from the prepared line, as the trainer reads it.
    records = [(each.line, target.read_format_row(each.row)) for each in kept if each.row is not None]
    made = renderer.render_for(common["method"], records, path=str(common["dataset"]))
    rendered: dict[Any, Any] = dict(zip((line for line, _ in records), made, strict=True))
    rows = [_rendered_row(renderer, each, rendered.get(each.line)) for each in shown]
    tokens = sum(_tokens(each)[0] for each in rendered.values())
    return Preview(
        **common,
        rendered=True,
        limit=renderer.max_length,
        rows=tuple(rows),
        records=len(kept),
        tokens=tokens,
        low=tokens,
        high=tokens,
        trained_tokens=sum(_tokens(each)[1] for each in rendered.values()),
        notes=(*notes, *renderer.notes),
    )


def _rendered_row(renderer: TemplateRenderer, converted: _Converted, rendered: AnyRendered | None) -> PreviewRow:
    losses = tuple(_words(lost) for lost in converted.lost)
    if rendered is None:
        return PreviewRow(converted.line, converted.at, 0, 0, 0, (), None, losses)
    tokens, trained = _tokens(rendered)
    segments = tuple(_segments(renderer.tokenizer, rendered))
    return PreviewRow(converted.line, converted.at, tokens, trained, rendered.cut, segments, None, losses)


def _segments(tokenizer: Any, rendered: AnyRendered) -> Iterator[PreviewSegment]:
    if isinstance(rendered, RenderedPreference):
        prompt = rendered.prompt_ids
        yield from _decoded(tokenizer, [("context", prompt)])
        for kind, ids in (("chosen", rendered.chosen_ids), ("rejected", rendered.rejected_ids)):
            yield from list(_decoded(tokenizer, [("context", prompt), (kind, ids)]))[1:]
        return
    if isinstance(rendered, RenderedPrompt):
        yield from _decoded(tokenizer, [("context", rendered.prompt_ids)])
        return
    if isinstance(rendered, RenderedAnswer):
        kind = "chosen" if rendered.label else "rejected"
        yield from _decoded(tokenizer, [("context", rendered.prompt_ids), (kind, rendered.completion_ids)])
        return
    pairs = zip(rendered.input_ids, rendered.labels, strict=True)
    groups: list[tuple[Any, list[int]]] = [
        ("context" if ignored else "trained", [token for token, _ in group])
        for ignored, group in groupby(pairs, key=lambda pair: pair[1] == IGNORED)
    ]
    yield from _decoded(tokenizer, groups)


def _decoded(tokenizer: Any, groups: list[tuple[Any, list[int]]]) -> Iterator[PreviewSegment]:
    """Yield the text of each group as a part of the text of all up to it: some tokenizers drop a space that comes
    first."""
    before, so_far = "", list[int]()
    for kind, ids in groups:
        so_far = so_far + ids
        text = _decode(tokenizer, so_far)
        yield PreviewSegment(kind, text[len(before) :], ids, _pieces(tokenizer, ids))
        before = text


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """Return the text of each token. If several tokens make up a character, the last one has it and the others are
    empty."""
    pieces: list[str] = []
    waiting: list[int] = []
    for token in ids:
        waiting.append(token)
        text = _decode(tokenizer, waiting)
        if not text.endswith(NO_CHARACTER):
            pieces += [""] * (len(waiting) - 1) + [text]
            waiting = []
        elif len(waiting) == MOST_TOKENS_OF_A_CHARACTER:
            pieces += [_decode(tokenizer, [each]) for each in waiting]
            waiting = []
    return pieces + [_decode(tokenizer, [each]) for each in waiting]


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _tokens(rendered: AnyRendered) -> tuple[int, int]:
    """Return the tokens that the model reads, and those in the loss. The prompt of a pair is read with each answer; for
    a question that the model answers itself, only the question is known."""
    if isinstance(rendered, RenderedExample):
        return len(rendered.input_ids), rendered.trained_tokens
    if isinstance(rendered, RenderedPrompt):
        return len(rendered.prompt_ids), 0
    if isinstance(rendered, RenderedAnswer):
        return len(rendered.prompt_ids) + len(rendered.completion_ids), len(rendered.completion_ids)
    trained = len(rendered.chosen_ids) + len(rendered.rejected_ids)
    return 2 * len(rendered.prompt_ids) + trained, trained


def _uploaded(
    counter: TokenCounter, shown: list[_Converted], common: dict[str, Any], notes: list[str], *, own_vocabulary: bool
) -> Preview:
    counts = counter.counts()
    low, high = counts.low, counts.high
    notes = [*notes, *([f"estimated: {counts.reason}"] if counts.approximate else [])]
    if not own_vocabulary:
        low, high = round(low * OTHER_VOCABULARY[0]), round(high * OTHER_VOCABULARY[1])
        notes.append(f"estimated: tokens are counted with {counts.encoding}, not with the model's own vocabulary")
    if counts.over_context:
        many = "record is" if counts.over_context == 1 else "records are"
        notes.append(f"{counts.over_context:,} {many} over the context of {counts.context:,} tokens and cut to it")
    rows = []
    for each in shown:
        alone = TokenCounter(counter.name, context=counter.context)
        if each.row is not None:
            alone.add(each.line, each.record)
        count = alone.counts()
        uploaded = None if each.row is None else each.row.decode()
        losses = tuple(_words(lost) for lost in each.lost)
        rows.append(
            PreviewRow(each.line, each.at, count.total, None, count.longest - count.total, (), uploaded, losses)
        )
    return Preview(
        **common,
        rendered=False,
        limit=counter.context,
        rows=tuple(rows),
        records=counts.rows,
        tokens=counts.total,
        low=low,
        high=high,
        trained_tokens=None,
        notes=tuple(notes),
    )


def _converted(
    source: RowSource,
    known: DatasetFormat,
    target: DatasetFormat,
    losses: ConversionLossReport,
    left_out: dict[str, None],
    *,
    keep_unliked: bool,
) -> Iterator[_Converted]:
    """Yield each record as `prepare` would write it. Raises DatasetError, with all problems, at the end of the file."""
    problems = RowProblemTally()
    for found in scan_dataset_rows(source, known):
        if not problems.accept(found.problems) or found.record is None:
            continue
        record = record_without_mark(found.record) if keep_unliked else found.record
        left_out |= dict.fromkeys(strip_untrained_row_fields(record))
        row, lost = write_converted_row(target, record)
        if lost:
            losses.add(found.line, lost)
        yield _Converted(found.line, source.numbering.words([found.line]), record, row, lost)
    problems.end()


def _words(lost: Unrepresentable) -> str:
    return f"{lost.field or 'record'}: {lost.reason}"
