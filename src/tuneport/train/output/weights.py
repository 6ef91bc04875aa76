"""The kept parts of a saved model: the weights as safetensors, the tokenizer, and nothing that runs code when
loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneport.errors import TrainingError

REFERENCE = "ref"
"""TRL's name for the frozen copy of the adapter that preference training continues from. It is the start's, not
ours."""
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def tidy_trained_weights(folder: Path, base: str) -> None:
    """Remove from a folder of weights what is not for its users, and name the base model by its public name.

    Raises TrainingError if weights are left in a format that runs code when it is read.
    """
    (folder / "training_args.bin").unlink(missing_ok=True)
    shutil.rmtree(folder / REFERENCE, ignore_errors=True)
    if left := [path.name for path in folder.rglob("*") if path.suffix in _PICKLES]:
        raise TrainingError(f"{left[0]} was saved as a pickle, and weights are kept as safetensors only; report this")
    config = folder / "adapter_config.json"
    if config.is_file():
        content = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps(content | {"base_model_name_or_path": base}, indent=2), encoding="utf-8")


class DropReferenceAdapter(TrainerCallback):
    """Leaves the frozen reference adapter out of checkpoints: a run that goes on makes it from its start again."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: object) -> None:
        shutil.rmtree(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / REFERENCE, ignore_errors=True)
