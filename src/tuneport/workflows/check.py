"""Judges a dataset for a model: its tokens are counted with the model's own vocabulary, against its context."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuneport.data.checks import CheckReport
from tuneport.data.checks import check as check_data
from tuneport.data.prepare import method_for
from tuneport.data.reading import detect, scan
from tuneport.data.tokenizer import Vocabulary
from tuneport.settings import Settings
from tuneport.types import Method
from tuneport.workflows.target import find_target


def check(
    path: Path | str,
    *,
    model: str | None = None,
    backend: str | None = None,
    format: str | None = None,
    validation: Path | str | None = None,
    task: str | None = None,
    context: int | None = None,
    columns: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> CheckReport:
    """Judge a dataset; see `tuneport.data.checks.check`, which this is for whoever names no `model`.

    With `model` (an alias, a weights name or a provider's id, on `backend` or the first that has it) tokens are those
    of its own tokenizer where that is at hand, and what does not fit its context is told exactly. `context` overrules
    the model's. Raises ModelNotOfferedError and ConfigError for a model that cannot be found.
    """
    vocabulary = Vocabulary(context=context)
    if model is not None:
        settings = settings or Settings.load()
        known = format or detect(path, columns).format
        target = find_target(model, backend, settings)
        found = target.vocabulary(settings, _method(path, known, columns))
        vocabulary = Vocabulary(found.name, found.folder, context or found.context)
    return check_data(path, format=format, validation=validation, vocabulary=vocabulary, task=task, columns=columns)


def _method(path: Path | str, format: str, columns: Mapping[str, str] | None) -> Method:
    """By the first record that is one: bad ones are for the report."""
    first = next((found.record for found in scan(path, format, columns) if found.record is not None), None)
    return Method.SFT if first is None else method_for(first)
