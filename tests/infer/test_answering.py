"""Batches, shared beginnings and caches must not change what the model says to each prompt alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.infer.answering import answer
from tuneport.data.rows.records import Message
from tuneport.errors import ConfigError
from tuneport.infer.engine import common_prompt_prefix
from tuneport.infer.sampling import SamplingOptions, sample_next_tokens
from tuneport.infer.scoring import batches_by_prompt_length, score_choices_by_inference

SYSTEM = "You label messages. " * 3
QUESTIONS = ["short", "a rather longer question than the others", "mid size", "short", "x"]


def prompts_of(engine: Any, questions: list[str] = QUESTIONS) -> list[list[int]]:
    return [engine.renderer.prompt_ids([Message("system", SYSTEM), Message("user", text)]) for text in questions]


def greedy_by_hand(engine: Any, prompt: list[int], tokens: int) -> list[int]:
    """No cache, no batch: the whole sequence again for every token."""
    ids = list(prompt)
    for _ in range(tokens):
        with torch.inference_mode():
            token = int(engine.model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in engine.end_tokens:
            break
        ids.append(token)
    return ids[len(prompt) :]


def answers(engine: Any, prompts: list[list[int]], adapter: str | None = None, **options: Any) -> list[Any]:
    found = answer(engine, prompts, SamplingOptions(temperature=0.0, **options), adapter=adapter)
    return sorted(found, key=lambda done: done.index)


def texts(answers: list[Any]) -> list[str]:
    return [done.text for done in answers]


def test_greedy_answers_in_a_batch_are_those_of_each_alone(engine: Any) -> None:
    prompts = prompts_of(engine)

    for done in answers(engine, prompts, max_tokens=9):
        expected = greedy_by_hand(engine, prompts[done.index], 9)
        assert done.text == engine.tokenizer.decode(expected, skip_special_tokens=True)
        assert (done.prompt_tokens, done.completion_tokens) == (len(prompts[done.index]), len(expected))


def test_a_remembered_beginning_gives_the_same_answers(engine: Any) -> None:
    prompts = prompts_of(engine)
    first = answers(engine, prompts, max_tokens=5)

    assert engine._remembered is not None and len(engine._remembered[1]) == common_prompt_prefix(prompts) > 60
    assert texts(answers(engine, prompts, max_tokens=5)) == texts(first)
    (alone,) = answers(engine, prompts[1:2], max_tokens=5)
    assert alone.text == first[1].text


def test_rows_that_end_early_leave_the_batch(engine: Any) -> None:
    prompts = prompts_of(engine)
    ending = greedy_by_hand(engine, prompts[0], 9)[2]  # some token that row 0 writes as its third
    engine.end_tokens = {ending}
    expected = [greedy_by_hand(engine, prompt, 9) for prompt in prompts]
    done = answers(engine, prompts, max_tokens=9)

    assert [row.completion_tokens for row in done] == [len(tokens) for tokens in expected]
    assert {row.finish_reason for row in done} >= {"stop"}
    assert done[0].completion_tokens <= 2


def test_scores_are_the_sums_of_log_probabilities(engine: Any) -> None:
    prompts = prompts_of(engine)
    choices = [engine.renderer.answer_ids(text) for text in ("refund", "no", "a longer one")]
    found = dict(score_choices_by_inference(engine, prompts, choices, None))

    for index, prompt in enumerate(prompts):
        for choice, value in zip(choices, found[index], strict=True):
            with torch.inference_mode():
                logits = engine.model(torch.tensor([prompt + choice])).logits[0].log_softmax(-1)
            by_hand = sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(choice))
            assert value == pytest.approx(by_hand, abs=1e-3)


def test_adapters_and_the_base_share_one_model(engine: Any, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    prompts = prompts_of(engine)
    before = answers(engine, prompts, max_tokens=6)
    engine.load_adapter("tuned", adapter)
    engine.load_adapter("again", adapter)
    tuned = answers(engine, prompts, "tuned", max_tokens=6)

    assert texts(tuned) != texts(before)
    assert texts(answers(engine, prompts, "again", max_tokens=6)) == texts(tuned)
    assert texts(answers(engine, prompts, max_tokens=6)) == texts(before)
    plain = AutoModelForCausalLM.from_pretrained(engine.tokenizer.name_or_path, dtype=torch.float32)
    engine.model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    by_hand = greedy_by_hand(engine, prompts[1], 6)
    assert tuned[1].text == engine.tokenizer.decode(by_hand, skip_special_tokens=True)


def test_a_stop_string_ends_the_answer_before_it(engine: Any) -> None:
    prompts = prompts_of(engine, ["tell me"])
    (whole,) = answers(engine, prompts, max_tokens=8)
    stop = whole.text[2:4]
    (cut,) = answers(engine, prompts, max_tokens=8, stop=(stop,))

    assert cut.text == whole.text[: whole.text.find(stop)]
    assert cut.finish_reason == "stop"


def test_streamed_pieces_add_up_to_the_answer(engine: Any) -> None:
    prompts = prompts_of(engine, ["tell me"])
    pieces: list[str] = []
    options = SamplingOptions(max_tokens=12, temperature=0.0)
    (done,) = answer(engine, prompts, options, lambda index, delta: pieces.append(delta))

    assert "".join(pieces) == done.text
    assert len(pieces) > 1


def test_a_seed_makes_sampling_repeatable(engine: Any) -> None:
    prompts = prompts_of(engine, ["tell me", "tell you"])

    def sampled(seed: int) -> list[str]:
        return texts(list(answer(engine, prompts, SamplingOptions(max_tokens=8, temperature=1.5, seed=seed))))

    assert sampled(1) == sampled(1) != sampled(2)


def test_top_p_leaves_only_the_likeliest() -> None:
    logits = torch.tensor([[3.0, 2.9, 0.0, -1.0]]).repeat(200, 1)
    generators = [torch.Generator().manual_seed(row) for row in range(200)]

    assert set(sample_next_tokens(logits, [SamplingOptions(top_p=0.6)] * 200, generators).tolist()) == {0, 1}
    assert set(sample_next_tokens(logits, [SamplingOptions(top_p=0.0)] * 200, generators).tolist()) == {0}
    mixed = sample_next_tokens(logits, [SamplingOptions(top_p=0.0), SamplingOptions()] * 100, generators).tolist()
    assert set(mixed[::2]) == {0} < set(mixed[1::2])


def test_a_prompt_as_long_as_the_context_is_an_error(engine: Any) -> None:
    with pytest.raises(ConfigError, match="the model reads 512"):
        answers(engine, [[5] * 512])
    (done,) = answers(engine, [[5] * 510], max_tokens=50)
    assert done.completion_tokens <= 2


def test_every_prompt_is_in_exactly_one_batch(engine: Any) -> None:
    prompts = [[1, *[5] * length] for length in (900, 3, 1500, 40, 800, 7, 2000)]
    found = list(batches_by_prompt_length(engine, prompts))

    assert sorted(index for batch in found for index in batch) == list(range(len(prompts)))
    assert len(found) > 1


def test_a_folder_that_is_no_adapter_is_an_error(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="adapter_config.json is missing"):
        engine.load_adapter("x", tmp_path)
    with pytest.raises(ConfigError, match="no adapter x is loaded"):
        answers(engine, [[5]], "x")
