"""The speed of a model: its first token, and each one after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.fake.backend import FakeBackend
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import EvaluationAnswer, Prompt
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed, evaluate_answer_speed


class Slow(FakeBackend):
    """Takes 0.02 s to its first token and 0.01 s to each after it; `tokens` of them."""

    tokens = 4

    def stream(self, model: str, messages: Any, **options: Any) -> Iterator[str]:
        time.sleep(0.02)
        yield "a"
        for _ in range(self.tokens - 1):
            time.sleep(0.01)
            yield "b"


def speed_of(settings: Settings, folder: Path, tokens: int) -> EvaluationAnswerSpeed:
    backend = Slow(load_manifest("fake"), settings)
    backend.tokens = tokens
    prompts = [Prompt([{"role": "user", "content": f"{n}?"}], {}) for n in range(3)]
    answers = [EvaluationAnswer("ab", [], 5, tokens)] * 3
    with EvaluationAnswerCache(folder / "answers.sqlite") as cache:
        return evaluate_answer_speed(backend, "tiny", prompts, answers, ["a", "b", "c"], cache)


def test_the_time_of_a_token_leaves_out_the_first(settings: Settings, tmp_path: Path) -> None:
    speed = speed_of(settings, tmp_path, 4)
    assert speed.seconds_per_token is not None and 0.01 <= speed.seconds_per_token < 0.02
    assert speed.seconds_to_first_token is not None and 0.02 <= speed.seconds_to_first_token < 0.04
    assert speed.seconds_for(1) == speed.seconds_to_first_token
    assert speed.seconds_for(4) == pytest.approx(speed.seconds, abs=0.01)
    assert speed.as_dict()["seconds_per_token"] == speed.seconds_per_token


def test_an_answer_of_one_token_has_no_rate(settings: Settings, tmp_path: Path) -> None:
    speed = speed_of(settings, tmp_path, 1)
    assert speed.seconds_per_token is None and speed.seconds_for(1) is not None and speed.seconds_for(2) is None
