"""Useful tokens a second of tuneport's recipe, against TRL's SFTTrainer with its defaults, in one run.

    python benchmarks/train.py [--steps 30] [--batch-size 8] [--data FILE]

Same base model, data, LoRA adapter, rows per step, learning rate and schedule; both train on the answers only. Useful
tokens are those of the rows as the chat template renders them: padding does not count, and a system prompt counts for
each row, whether or not it was computed again. The last line compares what was learned: the loss of the held-out rows'
answers, the same tokens for both (TRL also trains on the line break that the template puts after an answer).
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

import torch  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from tuneport.base_models import choose_device, locate, materialise  # noqa: E402
from tuneport.data.reading import read_records  # noqa: E402
from tuneport.data.rendering import IGNORED, Rendered, Renderer  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.train.loading import load_tokenizer, lora_config, resolved  # noqa: E402
from tuneport.training_options import TrainingOptions  # noqa: E402
from tuneport.types import Adapter  # noqa: E402

DATA = Path(__file__).parent.parent / "fixtures" / "datasets" / "support_intents.train.jsonl"
HELD_OUT = DATA.with_name("support_intents.test.jsonl")
WARM_UP_STEPS = 2
SEED = 1


class StepClock(TrainerCallback):
    """The time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.ends.append(time.perf_counter())

    def steps_per_second(self) -> float:
        return (len(self.ends) - WARM_UP_STEPS) / (self.ends[-1] - self.ends[WARM_UP_STEPS - 1])


def plain_trl(folder: Path, data: Path, numbers: dict[str, Any], steps: int) -> tuple[float, Any]:
    """Steps a second, and the trained model."""
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
    return clock.steps_per_second(), trainer.model


def tuneport(folder: Path, rows: list[Rendered], numbers: dict[str, Any], steps: int) -> tuple[float, Any]:
    """Steps a second, and the trained model."""
    from tuneport.train.reporting import Counter
    from tuneport.train.sft import Recipe, sft_trainer

    renderer = Renderer(load_tokenizer(folder))
    clock = StepClock()
    with tempfile.TemporaryDirectory() as output:
        recipe = Recipe(
            folder=folder,
            device=choose_device(),
            adapter=Adapter.LORA,
            numbers=numbers,
            options=TrainingOptions(),
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
    return clock.steps_per_second(), trainer.model


@torch.no_grad()
def answer_loss(model: Any, rows: list[Rendered]) -> float:
    """Nats per token of the answers, one row at a time."""
    model.eval()
    total = 0.0
    for row in rows:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor(row.labels[1:])
        logits = model(input_ids=ids.to(model.device)).logits[0, :-1].float().cpu()
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
    return total / sum(row.trained_tokens for row in rows)


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

    renderer = Renderer(load_tokenizer(folder))
    rows, held_out = (renderer.render_all(read_records(path), path=str(path)) for path in (arguments.data, HELD_OUT))
    tokens = statistics.mean(row.useful_length for row in rows) * arguments.batch_size

    ours, our_model = tuneport(folder, rows, numbers, arguments.steps)
    theirs, their_model = plain_trl(folder, arguments.data, numbers, arguments.steps)
    print(
        f"tuneport {ours * tokens:.0f} useful tokens/s, TRL's defaults {theirs * tokens:.0f}: "
        f"{ours / theirs:.1f} times as fast"
    )
    print(
        f"loss of held-out answers after {arguments.steps} steps: "
        f"tuneport {answer_loss(our_model, held_out):.3f}, TRL {answer_loss(their_model, held_out):.3f}"
    )


if __name__ == "__main__":
    main()
