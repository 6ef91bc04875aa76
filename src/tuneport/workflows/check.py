"""Judges a dataset for a model: its tokens are counted with the model's own vocabulary, against its context."""

from __future__ import annotations

from collections.abc import Mapping

from tuneport.data.checks import CheckReport
from tuneport.data.checks import check_dataset as check_data
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.rows.kinds import method_for_record
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.deprecation import renamed
from tuneport.settings import Settings
from tuneport.types import Method
from tuneport.workflows.target import find_target_model


@renamed(path="dataset")
def check(
    dataset: DatasetLike,
    *,
    model: str | None = None,
    backend: str | None = None,
    format: str | None = None,
    validation: DatasetLike | None = None,
    task: str | None = None,
    context: int | None = None,
    columns: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> CheckReport:
    """Judge a dataset as `check_dataset` does, with a `model` if one is named.

    `model` is an alias, a weights name or a provider's id, on the backend of `BackendCatalogue.route_model`. With it,
    tokens are counted by its own tokenizer if that is on this machine, and rows that exceed its context are counted
    exactly. `context` overrules the model's. Raises ModelNotOfferedError and ConfigError for a model that cannot be
    found.
    """
    data, vocabulary = Dataset.of(dataset, columns, format), TokenizerVocabulary(context=context)
    if model is not None:
        settings = settings or Settings.load()
        known = data.read_as(data.format)  # told before a model that cannot be found
        target = find_target_model(model, backend, settings)
        found = target.nearest_tokenizer(settings, _method(known))
        vocabulary = TokenizerVocabulary(found.name, found.folder, context or found.context)
    return check_data(data, validation=validation, vocabulary=vocabulary, task=task)


def _method(dataset: Dataset) -> Method:
    """Return the method of the first valid record: the report tells about invalid ones."""
    first = next((found.record for found in dataset.scan() if found.record is not None), None)
    return Method.SFT if first is None else method_for_record(first)
