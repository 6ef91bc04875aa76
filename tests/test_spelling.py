from __future__ import annotations

import pytest

from tuneport.spelling import did_you_mean, nearest_names

NUMBERS = ("epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "warmup_ratio", "weight_decay")
MODELS = ("smollm2-135m-instruct", "smollm2-1.7b-instruct", "gpt-4.1", "gpt-4.1-mini", "meta-llama/Llama-3.3-70B")


@pytest.mark.parametrize(
    ("written", "known", "found"),
    [
        ("epoch", NUMBERS, ["epochs"]),
        ("n_epochs", NUMBERS, ["epochs"]),
        ("lr", NUMBERS, ["learning_rate"]),
        ("Batch-Size", NUMBERS, ["batch_size"]),
        ("learning_rate_mult", NUMBERS, ["learning_rate_multiplier"]),
        ("help", NUMBERS, []),
        ("", NUMBERS, []),
        ("smollm2-135m", MODELS, ["smollm2-135m-instruct"]),
        ("gtp-4.1", MODELS, ["gpt-4.1"]),
        ("gpt-4.1-mni", MODELS, ["gpt-4.1-mini"]),
        ("gpt41mini", MODELS, ["gpt-4.1-mini"]),
        ("smolm2-135m", MODELS, ["smollm2-135m-instruct"]),
        ("smollm2135", MODELS, ["smollm2-135m-instruct"]),
        ("qwen2.5-7b", ("qwen3.5-27b", "qwen2.5-7b-instruct"), ["qwen2.5-7b-instruct"]),
        ("nonsense", MODELS, []),
        ("epochs", (), []),
    ],
)
def test_the_name_that_was_meant(written: str, known: tuple[str, ...], found: list[str]) -> None:
    assert nearest_names(written, known) == found


def test_several_only_if_they_are_about_as_like() -> None:
    assert nearest_names("smollm2", MODELS, most=3) == ["smollm2-135m-instruct", "smollm2-1.7b-instruct"]
    assert nearest_names("gpt-4.1-mini", MODELS, most=3) == ["gpt-4.1-mini"]


def test_only_the_part_that_counts_is_compared() -> None:
    def last(name: str) -> str:
        return name.rsplit("/", 1)[-1]

    assert nearest_names("llama-3.3-70b", MODELS, key=last) == ["meta-llama/Llama-3.3-70B"]


def test_the_question() -> None:
    assert did_you_mean("epoch", NUMBERS) == "; did you mean epochs?"
    assert did_you_mean("help", NUMBERS) == ""
