"""BERTScore: how near the answer's words are to the reference's in what they mean, by an encoder on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tuneport.errors import ConfigError
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.extra import require_metric_package
from tuneport.scoring.statistics.tally import Tally, tally_means
from tuneport.validation import read_json_object


def tally_bertscore(
    rows: Sequence[Example], answers: Sequence[Answer], *, encoder: Path | None = None, layer: int | None = None
) -> Tally:
    """Compute the mean F1 of bert-score (Zhang and others 2020), without idf and without rescaling by a baseline.

    `encoder` is a folder with a model in Hugging Face's form; `layer` says whose output is compared, by default the
    last one. A blank answer scores 0, as in bert-score itself. Raises ConfigError if the folder has no encoder.
    """
    if encoder is None:
        raise ConfigError("bertscore needs an encoder: give the folder of a model, as encoder=FOLDER")
    wanted = _layer(encoder, layer)
    filled = [
        index
        for index, (row, said) in enumerate(zip(rows, answers, strict=True))
        if row.expected.strip() and said.text.strip()
    ]
    values = np.zeros(len(rows))
    if filled:
        with require_metric_package("bert-score"):
            from bert_score import BERTScorer
        scorer = BERTScorer(model_type=str(encoder), num_layers=wanted)
        _, _, found = scorer.score(
            [answers[index].text for index in filled], [rows[index].expected for index in filled]
        )
        values[filled] = found.numpy()
    return tally_means(values)


def _layer(encoder: Path, layer: int | None) -> int:
    config = encoder / "config.json"
    if not config.is_file():
        raise ConfigError(f"{encoder} is not the folder of an encoder: it has no config.json")
    try:
        layers = read_json_object(config).get("num_hidden_layers")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config} cannot be read: {error}; fetch the encoder again") from error
    wanted = layers if layer is None else layer
    if not isinstance(wanted, int) or not 0 < wanted <= (layers or wanted):
        raise ConfigError(f"the encoder {encoder} has {layers} layers; layer={layer} is none of them")
    return wanted
