"""Requests that come and go while others are answered: each gets what it would get alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import tiny_model
from tuneport.base_models import BaseModelDevice
from tuneport.data.rows.records import Message
from tuneport.infer.batch import prefill_prompts
from tuneport.infer.engine import InferenceEngine
from tuneport.infer.limits import BatchLimits, choose_batch_limits
from tuneport.infer.requests import GenerationRequest
from tuneport.infer.sampling import SamplingOptions
from tuneport.infer.scheduler import DecodingScheduler

ROOMY = BatchLimits(rows=16, tokens=100_000, tokens_read_together=2_048)


class Asked:
    """A request and what has come of it."""

    def __init__(self, engine: InferenceEngine, texts: list[str], adapter: str | None = None, **options: Any) -> None:
        self.answers: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.pieces: dict[int, str] = {}
        self.error: Exception | None = None
        self.over = False
        prompts = [engine.renderer.prompt_ids([Message("user", text)]) for text in texts]
        self.request = GenerationRequest(
            engine,
            prompts,
            adapter,
            SamplingOptions(**{"temperature": 0.0, "max_tokens": 10} | options),
            on_answer=self._answered,
            on_end=self._ended,
            on_delta=self._grown,
        )

    def _answered(self, answer: Any) -> None:
        self.answers[answer.index], self.reasons[answer.index] = answer.text, answer.finish_reason

    def _grown(self, index: int, piece: str) -> None:
        self.pieces[index] = self.pieces.get(index, "") + piece

    def _ended(self, error: Exception | None) -> None:
        assert not self.over
        self.error, self.over = error, True


def run(scheduler: DecodingScheduler, steps: int = 10_000) -> None:
    for _ in range(steps):
        if not scheduler.busy:
            return
        scheduler.step()


def alone(engine: InferenceEngine, *given: Any, **options: Any) -> Asked:
    scheduler = DecodingScheduler(engine, ROOMY)
    asked = Asked(engine, *given, **options)
    scheduler.add(asked.request)
    run(scheduler)
    assert asked.over
    return asked


def endless(engine: InferenceEngine) -> InferenceEngine:
    engine.end_tokens = set()
    return engine


@pytest.fixture(scope="module")
def adapters(model: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of four kinds, each far enough from the base to change its answers."""
    from peft import LoraConfig, PrefixTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = {"lora": adapter}
    common: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    kinds = {
        "narrow": LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], **common),
        "dora": LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_dora=True, **common),
        "prefix": PrefixTuningConfig(num_virtual_tokens=5, **common),
    }
    for name, config in kinds.items():
        torch.manual_seed(len(made))
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config)
        with torch.no_grad():
            for parameter_name, parameter in tuned.named_parameters():
                if "lora_A" in parameter_name or "lora_B" in parameter_name or "prompt_encoder" in parameter_name:
                    parameter.normal_(std=0.4)
        made[name] = tmp_path_factory.mktemp(name)
        tuned.save_pretrained(made[name])
    return made


def test_requests_of_all_kinds_that_come_at_any_time_get_what_they_get_alone(
    engine: InferenceEngine, adapters: Any
) -> None:
    endless(engine)
    for name in ("lora", "narrow", "prefix"):
        engine.load_adapter(name, adapters[name])
    assert engine.can_mix_adapters(["lora", None, "narrow", "prefix"])
    wishes: list[tuple[list[str], str | None, dict[str, Any]]] = [
        (["the first of all"], None, {"max_tokens": 40}),
        (["hello"], "lora", {"max_tokens": 25}),
        (["a far longer question than the other ones have asked", "short"], "narrow", {"max_tokens": 12}),
        (["hello"], None, {"temperature": 1.3, "seed": 5, "max_tokens": 30}),
        (["one", "two", "three"], "prefix", {"max_tokens": 9}),
        (["hello"], "lora", {"temperature": 0.8, "top_p": 0.7, "seed": 6}),
        (["hello"], "lora", {"temperature": 0.8, "top_p": 0.7, "seed": 7}),
    ]
    expected = [alone(engine, *given[:2], **given[2]) for given in wishes]
    assert len({asked.answers[0] for asked in expected}) == len(wishes)  # else adapters or seeds did nothing
    stop = expected[0].answers[0][20:22]
    wishes.append((["the first of all"], None, {"max_tokens": 40, "stop": (stop,)}))
    expected.append(alone(engine, *wishes[-1][:2], **wishes[-1][2]))

    scheduler = DecodingScheduler(engine, ROOMY)
    together = []
    most = 0
    for given in wishes:
        together.append(Asked(engine, *given[:2], **given[2]))
        scheduler.add(together[-1].request)
        for _ in range(2):
            scheduler.step()
            most = max(most, max(len(group.rows) for group in scheduler._groups))
            assert len(scheduler._groups) == 1  # all adapters are decoded in one batch
    run(scheduler)

    assert most >= 6
    for was, now in zip(expected, together, strict=True):
        assert now.error is None and now.answers == was.answers and now.reasons == was.reasons
        assert now.pieces == now.answers
    assert together[-1].reasons[0] == "stop" and stop not in together[-1].answers[0]


def test_an_adapter_that_one_pass_cannot_share_is_answered_beside_the_others(
    engine: InferenceEngine, adapters: Any
) -> None:
    endless(engine)
    engine.load_adapter("lora", adapters["lora"])
    before = [alone(engine, ["hello"], name, max_tokens=20).answers for name in (None, "lora")]
    scheduler = DecodingScheduler(engine, ROOMY)
    asked = [Asked(engine, ["hello"], name, max_tokens=20) for name in (None, "lora")]
    for one in asked:
        scheduler.add(one.request)
    for _ in range(4):
        scheduler.step()
    engine.load_adapter("dora", adapters["dora"])  # while both are in one batch
    asked.append(Asked(engine, ["hello"], "dora", max_tokens=20))
    scheduler.add(asked[-1].request)
    run(scheduler)

    assert not engine.can_mix_adapters([None, "dora"])
    assert [one.answers for one in asked[:2]] == before
    assert asked[2].answers == alone(engine, ["hello"], "dora", max_tokens=20).answers
    assert len({one.answers[0] for one in asked}) == 3
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(engine.tokenizer.name_or_path, dtype=torch.float32)
    by_peft = PeftModel.from_pretrained(plain, str(adapters["dora"])).eval()
    prompt = engine.renderer.prompt_ids([Message("user", "hello")])
    with torch.inference_mode():
        expected = by_peft(torch.tensor([prompt])).logits[0, -1]
    assert torch.allclose(prefill_prompts(engine, [prompt], "dora")[0][0], expected, atol=1e-4)


def test_a_sliding_window_counts_no_padding(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    folder = tiny_model(tmp_path / "window")
    torch.manual_seed(3)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=259, num_key_value_heads=1, sliding_window=24, initializer_range=0.3, **size)
    MistralForCausalLM(config).save_pretrained(folder)
    engine = endless(InferenceEngine(folder, BaseModelDevice("cpu", "fp32")))
    texts = ["a question that is longer than the window of the model is", "short", "of middling length"]
    expected = [alone(engine, [text], max_tokens=40).answers[0] for text in texts]
    scheduler = DecodingScheduler(engine, ROOMY)
    asked = [Asked(engine, [text], max_tokens=40) for text in texts]
    for one in asked:
        scheduler.add(one.request)
        for _ in range(3):
            scheduler.step()
    run(scheduler)

    assert [one.answers[0] for one in asked] == expected
    assert list(alone(engine, texts, max_tokens=40).answers.values()) != []
    together = alone(engine, texts, max_tokens=40).answers
    assert [together[index] for index in range(3)] == expected


def test_a_prompt_that_is_read_in_parts_is_answered_as_one_that_is_not(engine: InferenceEngine) -> None:
    endless(engine)
    long = ["x" * 300, "y" * 200]
    expected = alone(engine, long).answers
    scheduler = DecodingScheduler(engine, BatchLimits(rows=8, tokens=100_000, tokens_read_together=128))
    first, second = Asked(engine, ["hello"], max_tokens=60), Asked(engine, long)
    scheduler.add(first.request)
    scheduler.step()
    scheduler.add(second.request)
    lengths = []
    while not second.over:
        scheduler.step()
        lengths.append(len(first.pieces.get(0, "")))
    run(scheduler)

    assert second.answers == expected
    assert len(set(lengths)) > 5  # the first went on in the meantime


def test_a_short_request_is_not_kept_waiting_by_a_large_one(engine: InferenceEngine) -> None:
    endless(engine)
    scheduler = DecodingScheduler(engine, BatchLimits(rows=8, tokens=100_000, tokens_read_together=2_048))
    large = Asked(engine, [f"question {number}" for number in range(40)], max_tokens=30)
    scheduler.add(large.request)
    for _ in range(3):
        scheduler.step()
    assert sum(len(group.rows) for group in scheduler._groups) == 7  # one place is kept for others
    short = Asked(engine, ["hello"], max_tokens=5)
    scheduler.add(short.request)
    steps = next(count for count in itertools.count(1) if scheduler.step() or short.over)

    assert steps <= 7 and not large.over
    run(scheduler)
    assert len(large.answers) == 40 and large.error is None


def test_what_does_not_fit_memory_together_waits(engine: InferenceEngine) -> None:
    endless(engine)
    texts = [f"question {number}" for number in range(6)]
    expected = alone(engine, texts).answers
    longest = len(engine.renderer.prompt_ids([Message("user", texts[0])])) + 10
    scheduler = DecodingScheduler(engine, BatchLimits(rows=16, tokens=2 * longest, tokens_read_together=2_048))
    asked = Asked(engine, texts)
    scheduler.add(asked.request)
    most = 0
    while scheduler.busy:
        scheduler.step()
        most = max(most, sum(len(group.rows) for group in scheduler._groups))

    assert most == 2 and asked.answers == expected
    assert choose_batch_limits(engine).tokens > 100_000  # 2 x 2 x 2 layers x 2 heads x 16 x 4 bytes each


def test_a_cancelled_request_gives_up_its_place_at_once(engine: InferenceEngine) -> None:
    endless(engine)
    scheduler = DecodingScheduler(engine, BatchLimits(rows=1, tokens=100_000, tokens_read_together=2_048))
    long, next_one = Asked(engine, ["hello"], max_tokens=400), Asked(engine, ["hello"], max_tokens=3)
    scheduler.add(long.request)
    scheduler.add(next_one.request)
    for _ in range(5):
        scheduler.step()
    assert not next_one.pieces
    scheduler.cancel(long.request)
    steps = next(count for count in itertools.count(1) if scheduler.step() or next_one.over)

    assert steps <= 4 and long.over and not long.answers
    assert not scheduler.busy


@pytest.mark.parametrize("failing_rows", [3, 1])
def test_requests_survive_that_memory_runs_out(
    engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch, failing_rows: int
) -> None:
    """`failing_rows` and more are too many; with one, the long prompt alone is too much as well."""
    endless(engine)
    texts = ["a", "b", "c", "d", "e"]
    settings = {"temperature": 0.7, "seed": 3, "max_tokens": 12}
    expected = alone(engine, texts, **settings).answers
    forward = type(engine.model).forward

    def scarce(model: Any, **inputs: Any) -> Any:
        rows, columns = inputs["input_ids"].shape[0], inputs["attention_mask"].shape[1]
        if rows >= max(2, failing_rows) and columns > 50 or columns > 250:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        return forward(model, **inputs)

    monkeypatch.setattr(engine.model, "forward", lambda **inputs: scarce(engine.model, **inputs))
    scheduler = DecodingScheduler(engine, ROOMY)
    asked, huge = Asked(engine, texts, **settings), Asked(engine, ["x" * 300])
    scheduler.add(asked.request)
    scheduler.add(huge.request)
    run(scheduler)

    assert asked.answers == expected and asked.error is None
    assert asked.pieces == asked.answers
    assert isinstance(huge.error, torch.OutOfMemoryError)
    monkeypatch.undo()
    again = Asked(engine, texts, **settings)
    scheduler.add(again.request)
    run(scheduler)
    assert again.answers == expected


def test_a_failure_ends_the_requests_of_its_pass_only(engine: InferenceEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DecodingScheduler(engine, ROOMY)
    asked = Asked(engine, ["hello"])
    scheduler.add(asked.request)

    def broken(**inputs: Any) -> Any:
        raise RuntimeError("a kernel is missing")

    monkeypatch.setattr(engine.model, "forward", broken)
    run(scheduler)
    monkeypatch.undo()

    assert isinstance(asked.error, RuntimeError) and not scheduler.busy
    assert alone(engine, ["hello"]).error is None
