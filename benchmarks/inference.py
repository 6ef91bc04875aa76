"""Concurrent calls of the local backend: together, one after the other, and against `transformers.generate`.

    python benchmarks/inference.py [--calls 8] [--tokens 96] [--repeat 2] [--adapters 4]

All in one process and one run, with the same model, prompts, precision and greedy decoding, each answer of exactly
`--tokens` tokens. `together` is what the child does with calls that arrive at once, `one after the other` what it does
with calls that wait for each other. With `--adapters`, the calls ask that many LoRA adapters (rank 16, all linear
layers) of the one base in turn: in one batch, and with PEFT's own mixed batches (`adapter_names`). Figures are the best
of `--repeat`, in generated tokens a second; the ratios are what to compare.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the child; read when torch loads, so for all sides

import torch  # noqa: E402

from tuneport.base_models import choose_base_model_device, locate_base_model, materialise_base_model  # noqa: E402
from tuneport.data.rows.records import Message  # noqa: E402
from tuneport.infer.engine import InferenceEngine  # noqa: E402
from tuneport.infer.requests import GenerationRequest  # noqa: E402
from tuneport.infer.sampling import SamplingOptions  # noqa: E402
from tuneport.infer.scheduler import DecodingScheduler  # noqa: E402
from tuneport.settings import Settings  # noqa: E402

SUBJECTS = (
    "cats",
    "bridges",
    "rain",
    "trains",
    "bread",
    "the moon",
    "chess",
    "a lost key and the people who look for it",
)


def ours(
    engine: InferenceEngine,
    prompts: Sequence[list[int]],
    adapters: Sequence[str | None],
    tokens: int,
    *,
    together: bool,
) -> list[str]:
    """The answers. Each call is a request of its own, as from a thread of its own."""
    answers: dict[int, str] = {}
    scheduler = DecodingScheduler(engine)

    def ended(error: Exception | None) -> None:
        if error is not None:
            raise error

    def add(number: int) -> None:
        def answered(answer: Any) -> None:
            answers[number] = answer.text

        options = SamplingOptions(max_tokens=tokens, temperature=0.0)
        scheduler.add(
            GenerationRequest(engine, [prompts[number]], adapters[number], options, on_answer=answered, on_end=ended)
        )

    for number in range(len(prompts)):
        add(number)
        while not together and scheduler.busy:
            scheduler.step()
    while scheduler.busy:
        scheduler.step()
    return [answers[number] for number in range(len(prompts))]


@torch.inference_mode()
def generate(engine: InferenceEngine, prompts: Sequence[list[int]], tokens: int, **more: Any) -> list[str]:
    """`transformers.generate`: a prompt at a time, or all in one padded batch where `adapter_names` are given."""
    lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": engine.pad_token}
    if not more:
        groups = [[prompt] for prompt in prompts]
    else:
        groups = [list(prompts)]
    texts = []
    for group in groups:
        longest = max(map(len, group))
        ids = torch.tensor([[engine.pad_token] * (longest - len(prompt)) + prompt for prompt in group])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in group])
        device = engine.input_device
        out = engine.model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **lengths, **more)
        texts += [engine.tokenizer.decode(row[longest:], skip_special_tokens=True) for row in out]
    return texts


def best(repeat: int, work: Callable[[], list[str]]) -> tuple[float, list[str]]:
    seconds = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        texts = work()
        seconds = min(seconds, time.perf_counter() - started)
    return seconds, texts


def make_adapters(folder: Path, model: Path, count: int) -> list[Path]:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(base, config)
    made = []
    for number in range(count):
        torch.manual_seed(number)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.01)
        made.append(folder / f"adapter-{number}")
        tuned.save_pretrained(made[-1])
    return made


def show(name: str, seconds: float, generated: int, slowest: float) -> None:
    print(f"{name:44} {generated / seconds:8.1f} tokens/s  x {slowest / seconds:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--adapters", type=int, default=4)
    arguments = parser.parse_args()
    home = Settings.load().home
    folder = materialise_base_model(locate_base_model(arguments.model, home=home), home=home)
    device = choose_base_model_device()
    engine = InferenceEngine(folder, device)
    engine.end_tokens = set()  # all answers equally long
    subjects = [SUBJECTS[number % len(SUBJECTS)] for number in range(arguments.calls)]
    prompts = [engine.renderer.prompt_ids([Message("user", f"Write a long story about {what}.")]) for what in subjects]
    generated = arguments.calls * arguments.tokens
    print(
        f"{arguments.model} in {device.precision} on {device.name}, {torch.get_num_threads()} threads: "
        f"{arguments.calls} calls of {arguments.tokens} tokens, best of {arguments.repeat}"
    )
    none = [None] * arguments.calls
    ours(engine, prompts, none, 4, together=True)  # warms up
    plain, expected = best(arguments.repeat, lambda: generate(engine, prompts, arguments.tokens))
    show("transformers.generate, one by one", plain, generated, plain)
    apart, texts = best(arguments.repeat, lambda: ours(engine, prompts, none, arguments.tokens, together=False))
    show("tuneport, one after the other", apart, generated, plain)
    at_once, joined = best(arguments.repeat, lambda: ours(engine, prompts, none, arguments.tokens, together=True))
    show("tuneport, together", at_once, generated, plain)
    same = sum(a == b for a, b in zip(texts, expected, strict=True))
    print(
        f"{same} of {arguments.calls} answers are those of generate, to the letter; together is {apart / at_once:.2f} x"
    )
    if not arguments.adapters:
        return
    with tempfile.TemporaryDirectory() as temporary:
        for number, adapter in enumerate(make_adapters(Path(temporary), folder, arguments.adapters)):
            engine.load_adapter(f"adapter-{number}", adapter)
    names: list[str | None] = [f"adapter-{number % arguments.adapters}" for number in range(arguments.calls)]
    print(f"the same calls to {arguments.adapters} adapters in turn:")
    apart, _ = best(arguments.repeat, lambda: ours(engine, prompts, names, arguments.tokens, together=False))
    show("tuneport, one after the other", apart, generated, apart)
    at_once, _ = best(arguments.repeat, lambda: ours(engine, prompts, names, arguments.tokens, together=True))
    show("tuneport, together in one batch", at_once, generated, apart)
    by_peft = InferenceEngine(folder, device)
    with tempfile.TemporaryDirectory() as temporary:
        from peft import PeftModel

        for number, adapter in enumerate(make_adapters(Path(temporary), folder, arguments.adapters)):
            if number:
                by_peft.model.load_adapter(str(adapter), adapter_name=f"adapter-{number}", autocast_adapter_dtype=False)
            else:
                by_peft.model = PeftModel.from_pretrained(
                    by_peft.model, str(adapter), adapter_name="adapter-0", autocast_adapter_dtype=False
                ).eval()
    for name, parameter in by_peft.model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(getattr(torch, device.dtype))
    by_peft.model.eval()
    mixed, _ = best(arguments.repeat, lambda: generate(by_peft, prompts, arguments.tokens, adapter_names=list(names)))
    show("PEFT's mixed batches (adapter_names)", mixed, generated, apart)


if __name__ == "__main__":
    main()
