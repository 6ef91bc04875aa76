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
    """Compute the mean F1 of BERTScore (Zhang and others 2020) as torchmetrics has it, without idf and without
    rescaling by a baseline.

    `encoder` is a folder with a model in Hugging Face's form; `layer` says whose output is compared, by default the
    last one. A blank answer scores 0. Raises ConfigError if the folder has no encoder.
    """
    if encoder is None:
        raise ConfigError("bertscore needs an encoder: give the folder of a model, as encoder=FOLDER")
    wanted = _layer(encoder, layer)
    pairs = [(said.text, row.expected) for row, said in zip(rows, answers, strict=True)]
    if not any(said.strip() and expected.strip() for said, expected in pairs):
        return tally_means(np.zeros(len(rows)))
    with require_metric_package("torchmetrics"):
        import torch
        from torchmetrics.functional.text import bert_score
        from transformers import AutoModel, AutoTokenizer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()

    def f1(said: str, expected: str) -> float:
        """Score one pair: of several at once torchmetrics 1.9 gives some the scores of others (its issue 2728)."""
        if not said.strip() or not expected.strip():
            return 0.0
        longest = max(map(len, tokenizer([said, expected], truncation=True)["input_ids"]))
        found = bert_score(
            [said],
            [expected],
            model=model,
            user_tokenizer=tokenizer,
            num_layers=wanted,
            device=device,
            max_length=longest,  # it pads to that
            truncation=True,
        )
        return min(1.0, float(found["f1"]))

    return tally_means([f1(*pair) for pair in pairs])


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
