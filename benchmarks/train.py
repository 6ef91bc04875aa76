"""Useful tokens a second of tuneport's recipe, beside TRL's SFTTrainer with its defaults, in one run.

    python benchmarks/train.py [--data FILE] [--repeats 3] [--steps 12] [--batch-size 8] [--markdown]

Both sides train the same base model on the same tokens in the same order: rows rendered once, the loss on the answers
only, the same LoRA adapter, rows per step, learning rate and schedule. Each training is a process of its own. They take
turns (ours, TRL's, ours ...), each pair with its own seed, and the ratio is the median over the pairs: a machine that
others use too slows both. The processor's seconds are compared as well, which hardly depend on who else is there.

Useful tokens are those of the rows up to the last trained one: padding does not count, and a beginning that rows share
counts for each of them, whether or not it was computed again. The loss is that of held-out rows' answers, one row at a
time. `--row-tokens 1000` puts rows end to end until they are that long. `--markdown` prints the line for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the training child; read when torch loads, so for both sides

import torch  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from tuneport.base_models import choose_base_model_device, locate_base_model, materialise_base_model  # noqa: E402
from tuneport.data.reading import read_records  # noqa: E402
from tuneport.data.templates.rendering import IGNORED, RenderedExample  # noqa: E402
from tuneport.data.tokens.tokenizer import training_template_renderer  # noqa: E402
from tuneport.errors import ConfigError  # noqa: E402
from tuneport.estimate.duration import flops_per_token  # noqa: E402
from tuneport.manifests import load_gpus  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.train.model.loading import build_lora_config, resolve_training_numbers  # noqa: E402
from tuneport.training_options import (
    CHECKPOINTING_FROM_PARAMETERS,  # noqa: E402
    TrainingOptions,  # noqa: E402
)
from tuneport.types import Adapter, Method  # noqa: E402

DATA = Path(__file__).parent.parent / "fixtures" / "datasets" / "support_intents.train.jsonl"
WARM_UP_STEPS = 1
INSTRUCTIONS = {"AMX": torch.cpu._is_amx_tile_supported, "AVX512-BF16": torch.cpu._is_avx512_bf16_supported}
HELD_OUT_SHARE, HELD_OUT_TOKENS = 5, 8_000  # every fifth row, up to so many tokens


class StepClock(TrainerCallback):
    """The time and the processor's seconds at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def per_step(self) -> tuple[float, float]:
        """Seconds and processor's seconds, warm-up left out."""
        first, last = self.ends[WARM_UP_STEPS - 1], self.ends[-1]
        steps = len(self.ends) - WARM_UP_STEPS
        return (last[0] - first[0]) / steps, (last[1] - first[1]) / steps


def plain_trl(
    folder: Path, rows: Sequence[RenderedExample], numbers: dict[str, Any], clock: StepClock, seed: int
) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    steps = numbers["steps"]
    with tempfile.TemporaryDirectory() as output:
        trainer = SFTTrainer(
            model=str(folder),
            args=SFTConfig(
                output_dir=output,
                max_steps=steps,
                per_device_train_batch_size=numbers["batch_size"],
                learning_rate=numbers["learning_rate"],
                lr_scheduler_type="cosine",
                warmup_steps=numbers["warmup_ratio"],
                max_length=None,  # the rows have their length, for both sides
                use_cpu=choose_base_model_device().name == "cpu",  # the one default that refuses to run without a GPU
                seed=seed,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]),
            peft_config=build_lora_config(numbers),
            callbacks=[clock],
        )
        trainer.train()
    return trainer.model


def tuneport(
    folder: Path, rows: Sequence[RenderedExample], numbers: dict[str, Any], clock: StepClock, seed: int
) -> Any:
    from tuneport.train.methods.sft import sft_trainer
    from tuneport.train.model.arguments import TrainingRecipe
    from tuneport.train.run.reporting import TrainedTokenCounter

    with tempfile.TemporaryDirectory() as output:
        recipe = TrainingRecipe(
            method=Method.SFT,
            folder=folder,
            device=choose_base_model_device(),
            adapter=Adapter.LORA,
            numbers=numbers,
            options=TrainingOptions(),
            seed=seed,
            validates=False,
            working=Path(output),
            note=lambda text: print(text, file=sys.stderr),
        )
        trainer = sft_trainer(recipe, training_template_renderer(folder, None), rows, [], TrainedTokenCounter())
        trainer.args.max_steps = numbers["steps"]
        trainer.args.save_strategy = "no"
        trainer.add_callback(clock)
        trainer.train()
    return trainer.model


SIDES = {"tuneport": tuneport, "trl": plain_trl}


@torch.no_grad()
def answer_loss(model: Any, rows: Sequence[RenderedExample]) -> float:
    """Nats per token of the answers, one row at a time."""
    model.eval()
    total = 0.0
    for row in rows:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor(row.labels[1:])
        logits = model(input_ids=ids.to(model.device)).logits[0, :-1].float().cpu()
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
    return total / sum(row.trained_tokens for row in rows)


def train_one(arguments: argparse.Namespace) -> dict[str, float]:
    """One training, measured: what the child process prints."""
    folder = base_model(arguments)
    rows, held_out = dataset(arguments, folder)
    numbers = resolve_training_numbers({"batch_size": arguments.batch_size, "learning_rate": arguments.learning_rate})
    numbers["steps"] = arguments.steps
    clock = StepClock()
    model = SIDES[arguments.side](folder, rows, numbers, clock, arguments.seed)
    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds, processor_seconds = clock.per_step()
    return {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "peak_gib": peak / 2**30,
        "loss": answer_loss(model, held_out),
    }


def base_model(arguments: argparse.Namespace) -> Path:
    home = Settings.load().home
    return materialise_base_model(locate_base_model(arguments.model, home=home), home=home)


def dataset(arguments: argparse.Namespace, folder: Path) -> tuple[list[RenderedExample], list[RenderedExample]]:
    """Rows to train on, a multiple of the batch, and rows held out."""
    renderer = training_template_renderer(folder, None)
    rows = renderer.render_all(read_records(arguments.data), path=str(arguments.data))
    if arguments.row_tokens:
        rows = joined(rows, arguments.row_tokens)
    candidates = rows[::HELD_OUT_SHARE]
    ends = accumulate(len(row.input_ids) for row in candidates)
    held_out = [row for row, end in zip(candidates, ends, strict=True) if end <= HELD_OUT_TOKENS]
    training = [row for row in rows if all(row is not other for other in held_out)][: arguments.rows]
    return training[: len(training) // arguments.batch_size * arguments.batch_size], held_out


def joined(rows: Sequence[RenderedExample], tokens: int) -> list[RenderedExample]:
    """Rows end to end, as many as have up to `tokens` together."""
    long: list[RenderedExample] = []
    ids: list[int] = []
    labels: list[int] = []
    for row in rows:
        if ids and len(ids) + len(row.input_ids) > tokens:
            long.append(RenderedExample(ids, labels, "", []))
            ids, labels = [], []
        ids, labels = ids + row.input_ids, labels + row.labels
    return long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="a file in any format that tuneport reads")
    parser.add_argument("--rows", type=int, help="train on that many of them; default: all")
    parser.add_argument("--row-tokens", type=int, help="put rows end to end until they have that many tokens")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each side, seeds 1, 2 ...")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--markdown", action="store_true", help="print the row for RESULTS.md as well")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps <= WARM_UP_STEPS:
        parser.error("the first step is warm-up; take more --steps")
    if arguments.side:
        print(json.dumps(train_one(arguments)))
        return
    folder = base_model(arguments)
    rows, held_out = dataset(arguments, folder)
    if not rows:
        parser.error(f"{arguments.data} has fewer rows than a batch; lower --batch-size")
    tokens = statistics.mean(row.useful_length for row in rows)
    print(f"{machine()}; {len(rows)} rows of {tokens:.0f} useful tokens, {len(held_out)} held out", flush=True)
    pairs = []
    for seed in range(1, arguments.repeats + 1):
        ours, theirs = (measured(side, seed, tokens * arguments.batch_size) for side in SIDES)
        print(f"seed {seed}: tuneport {told(ours)}; TRL {told(theirs)}", flush=True)
        pairs.append((ours, theirs))
    summarise(arguments, folder, len(rows), tokens, pairs)


def measured(side: str, seed: int, tokens_per_step: float) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the training of {side} failed:\n{done.stderr[-3000:]}")
    run: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return run | {"rate": tokens_per_step / run["seconds"]}


def told(run: dict[str, float]) -> str:
    return f"{run['rate']:,.0f} tokens/s, loss {run['loss']:.3f}, {run['peak_gib']:.1f} GiB"


def summarise(
    arguments: argparse.Namespace,
    folder: Path,
    rows: int,
    tokens: float,
    pairs: list[tuple[dict[str, float], dict[str, float]]],
) -> None:
    def median(side: int, key: str) -> float:
        return statistics.median(pair[side][key] for pair in pairs)

    ratio, work = (
        statistics.median(theirs[key] / ours[key] for ours, theirs in pairs) for key in ("seconds", "processor_seconds")
    )
    print(
        f"tuneport {median(0, 'rate'):,.0f} useful tokens/s, TRL's defaults {median(1, 'rate'):,.0f}: "
        f"{ratio:.1f} times as fast (median of {len(pairs)} pairs; by the processor's seconds {work:.1f})"
    )
    losses = [f"{statistics.mean(pair[side]['loss'] for pair in pairs):.3f}" for side in (0, 1)]
    print(f"loss of held-out answers after {arguments.steps} steps: tuneport {losses[0]}, TRL {losses[1]}")
    shares = [share_of_peak(folder, tokens, median(number, "rate"), side) for number, side in enumerate(SIDES)]
    reached = " / ".join(f"{share:.0%}" for share in shares if share is not None)
    if reached:
        print(f"share of the card's peak: {reached}")
    if arguments.markdown:
        data = arguments.data.name + (f", end to end up to {arguments.row_tokens}" if arguments.row_tokens else "")
        peaks = [f"{median(side, 'peak_gib'):.1f}" for side in (0, 1)]
        cells = [
            date.today().isoformat(),
            machine(),
            f"{data}: {rows} rows of {tokens:.0f} tokens",
            f"{arguments.batch_size} x {arguments.steps}",
            f"{median(0, 'rate'):,.0f}",
            f"{median(1, 'rate'):,.0f}",
            f"{ratio:.1f} ({work:.1f})",
            " / ".join(losses),
            " / ".join(peaks),
            reached or ("peak not known" if torch.cuda.is_available() else "no GPU"),
        ]
        print(f"| {' | '.join(cells)} |")


def machine() -> str:
    """The device's name, and the precision that tuneport trains in on it."""
    device = choose_base_model_device()
    if device.name == "cuda":
        return f"{torch.cuda.get_device_name()}, {device.precision}"
    described = Path("/proc/cpuinfo")  # Linux only
    lines = described.read_text().splitlines() if described.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    instructions = [name for name, has in INSTRUCTIONS.items() if has()]
    return f"{name}, {torch.get_num_threads()} cores, {' and '.join(instructions) or 'no bf16'}, {device.precision}"


def share_of_peak(folder: Path, tokens: float, rate: float, side: str) -> float | None:
    """Arithmetic of the useful tokens over the card's dense bf16 peak (`estimate.duration.flops_per_token`); None
    without a card whose peak `providers/gpus.toml` knows."""
    if not torch.cuda.is_available():
        return None
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        peak = load_gpus().find(torch.cuda.get_device_name()).bf16_tflops
    except ConfigError:
        return None
    if peak is None:
        return None
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(config).num_parameters()
    checkpointing = side == "trl" or parameters >= CHECKPOINTING_FROM_PARAMETERS
    flops = flops_per_token(parameters / 1e9, Adapter.LORA, length=round(tokens), checkpointing=checkpointing)
    attention = 2 * config.num_hidden_layers * config.hidden_size * tokens * (4 if checkpointing else 3)
    return (flops + attention) * rate / (peak * 1e12)


if __name__ == "__main__":
    main()
