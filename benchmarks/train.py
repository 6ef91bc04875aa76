"""Useful tokens a second of tuneport's recipe, against TRL's SFTTrainer with its defaults, in one run.

    python benchmarks/train.py [--steps 30] [--batch-size 8] [--data FILE]

Same base model, data, LoRA adapter, rows per step, learning rate and schedule; both train on the answers only. Useful
tokens are those of the rows as the chat template renders them: padding does not count, and a system prompt counts for
each row, whether or not it was computed again. The last line compares the losses, which show that both learn the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the training child; read when torch loads, so for both sides

from transformers import TrainerCallback  # noqa: E402

from tuneport.base_models import choose_device, locate, materialise  # noqa: E402
from tuneport.data.reading import read_records  # noqa: E402
from tuneport.data.rendering import Renderer  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.train.loading import load_tokenizer, lora_config, resolved  # noqa: E402
from tuneport.types import Adapter  # noqa: E402

DATA = Path(__file__).parent.parent / "fixtures" / "datasets" / "support_intents.train.jsonl"
WARM_UP_STEPS = 2
SEED = 1


class StepClock(TrainerCallback):
    """The time at the end of each step, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def result(self, tokens_per_step: float) -> dict[str, float]:
        seconds = self.ends[-1] - self.ends[WARM_UP_STEPS - 1]
        return {
            "tokens_per_second": tokens_per_step * (len(self.ends) - WARM_UP_STEPS) / seconds,
            "final_loss": statistics.mean(self.losses[-max(3, len(self.losses) // 4) :]),
        }


def plain_trl(folder: Path, data: Path, numbers: dict[str, Any], steps: int) -> StepClock:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [json.loads(line)["messages"] for line in data.read_text(encoding="utf-8").splitlines()]
    clock = StepClock()
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
                use_cpu=choose_device().name == "cpu",  # the one default that refuses to run without a GPU
                seed=SEED,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
            peft_config=lora_config(numbers),
            callbacks=[clock],
        )
        trainer.train()
    return clock


def tuneport(folder: Path, data: Path, numbers: dict[str, Any], steps: int) -> tuple[StepClock, float]:
    """The clock, and the useful tokens of a mean row."""
    from tuneport.train.reporting import Counter
    from tuneport.train.sft import Recipe, sft_trainer

    renderer = Renderer(load_tokenizer(folder))
    rows = renderer.render_all(read_records(data), path=str(data))
    clock = StepClock()
    with tempfile.TemporaryDirectory() as output:
        recipe = Recipe(
            folder=folder,
            device=choose_device(),
            adapter=Adapter.LORA,
            numbers=numbers,
            options={},
            seed=SEED,
            validates=False,
            working=Path(output),
            note=print,
        )
        trainer = sft_trainer(recipe, renderer, rows, [], Counter())
        trainer.args.max_steps = steps
        trainer.args.save_strategy = "no"
        trainer.add_callback(clock)
        trainer.train()
    return clock, statistics.mean(row.useful_length for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    arguments = parser.parse_args()
    home = Settings.load().home
    folder = materialise(locate(arguments.model, home=home), home=home)
    numbers = resolved({"batch_size": arguments.batch_size, "learning_rate": 1e-3})

    ours, tokens_per_row = tuneport(folder, arguments.data, numbers, arguments.steps)
    theirs = plain_trl(folder, arguments.data, numbers, arguments.steps)
    results = {
        name: clock.result(tokens_per_row * arguments.batch_size) for name, clock in (("ours", ours), ("trl", theirs))
    }
    ratio = results["ours"]["tokens_per_second"] / results["trl"]["tokens_per_second"]
    print(
        f"tuneport {results['ours']['tokens_per_second']:.0f} useful tokens/s, "
        f"TRL's defaults {results['trl']['tokens_per_second']:.0f}: {ratio:.1f} times as fast"
    )
    print(
        f"loss of the last steps: tuneport {results['ours']['final_loss']:.3f}, TRL {results['trl']['final_loss']:.3f}"
    )


if __name__ == "__main__":
    main()
