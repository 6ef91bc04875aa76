"""`python -m tuneport.train.probe SHAPE [FOLDER]`: how many tokens a second this machine's processor trains.

A few steps of the real trainer (LoRA on all linear layers, packed rows) with the weights in FOLDER, or with random
ones of the SHAPE, a JSON object of a Llama's config: what is computed does not depend on what the numbers are. Prints
one JSON line. Nothing is kept.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SECONDS = 4.0
"""Measured for, the first step left out, which also allocates; a slow machine does `LEAST_STEPS` and takes longer."""
LEAST_STEPS = 2
ROWS, ROW_TOKENS = 8, 128
ANSWER_SHARE = 0.5  # of a row, that is trained on


def measure_training_speed(folder: Path, tokenizer: Any) -> dict[str, Any]:
    """Train on random tokens until enough was measured, and count."""
    import torch
    from transformers import TrainerCallback

    from tuneport.base_models import choose_base_model_device
    from tuneport.data.templates.rendering import IGNORED, RenderedExample
    from tuneport.train.methods.sft import sft_trainer
    from tuneport.train.model.arguments import TrainingRecipe
    from tuneport.train.model.loading import resolve_training_numbers
    from tuneport.train.run.reporting import TrainedTokenCounter
    from tuneport.training_options import TrainingOptions
    from tuneport.types import Adapter, Method

    class Clock(TrainerCallback):
        ends: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.ends.append(time.perf_counter())
            if len(self.ends) > LEAST_STEPS and self.ends[-1] - self.ends[0] >= SECONDS:
                control.should_training_stop = True

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    generator = torch.Generator().manual_seed(0)
    prompt = int(ROW_TOKENS * (1 - ANSWER_SHARE))
    rows = []
    for _ in range(ROWS):
        ids = torch.randint(0, int(config["vocab_size"]), (ROW_TOKENS,), generator=generator).tolist()
        rows.append(RenderedExample(input_ids=ids, labels=[IGNORED] * prompt + ids[prompt:], text="", spans=[]))
    clock = Clock()
    with tempfile.TemporaryDirectory() as working:
        recipe = TrainingRecipe(
            method=Method.SFT,
            folder=folder,
            device=choose_base_model_device(on_cpu=True),
            adapter=Adapter.LORA,
            numbers=resolve_training_numbers({"batch_size": ROWS, "epochs": 1_000_000}),
            options=TrainingOptions(),
            seed=0,
            validates=False,
            working=Path(working),
            note=lambda text: print(text, file=sys.stderr),
        )
        renderer: Any = SimpleNamespace(tokenizer=tokenizer)
        trainer = sft_trainer(recipe, renderer, rows, [], TrainedTokenCounter())
        trainer.add_callback(clock)
        trainer.train()
    steps = len(clock.ends) - 1
    seconds = clock.ends[-1] - clock.ends[0]
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return {
        "tokens_per_second": steps * ROWS * ROW_TOKENS / seconds,
        "params_b": (trainer.model.num_parameters() - trained) / 1e9,
        "precision": recipe.device.precision,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "steps": steps,
    }


def random_probe_model(folder: Path, shape: dict[str, Any]) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape)).to(torch.bfloat16).save_pretrained(folder)


def blank_training_tokenizer() -> Any:
    """Return a tokenizer with padding and end tokens only, which TRL asks for; the rows are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def run_training_child_probe(shape: str, folder: str | None) -> None:
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            random_probe_model(Path(made), json.loads(shape))
        print(json.dumps(measure_training_speed(Path(folder or made), blank_training_tokenizer())), flush=True)


if __name__ == "__main__":
    from tuneport.train.child import prepare_training_environment

    prepare_training_environment()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    run_training_child_probe(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
