"""`README.md` beside a run's weights: the model card, with the front matter that the hub reads."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from tuneport import digests
from tuneport.run_protocol import DATA, ENVIRONMENT, METRICS
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import Adapter, Hyperparameters
from tuneport.validation import read_json_object

CARD = "README.md"
_MERGED = "<!-- what merging changed -->"
_WRITES = "AutoModelForCausalLM"
LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "llama 3.1 community": "llama3.1",
    "llama 3.2 community": "llama3.2",
    "llama 3.3 community": "llama3.3",
}
"""The hub's ids, by the names in models.toml. Another one is `other`, with its name beside it."""
_MERGED = "<!-- merged -->"
_FILES = "## Files"


def write_model_card(run: TrainingRunFolder, folder: Path, adapter: Adapter, base: Path) -> None:
    """Write the card into the folder of the weights. `base` is the base model's folder, whose own card may name its
    licence."""
    front = _front_matter(run, adapter, base)
    facts = _read(run.path / DATA).get("training", {})
    body = [
        f"# {run.tuned_name}",
        f"{_describe_weights(run, adapter)} of `{_base_name(run)}`, trained with [tuneport](https://pypi.org/project/tuneport/).",
        _MERGED,
        "## Data",
        _table(
            {
                "rows": f"{facts.get('rows', run.training.rows):,} (format `{run.training.format}`)",
                "tokens, and those in the loss": f"{facts.get('tokens', 0):,}, {facts.get('trained_tokens', 0):,}",
                "SHA-256": f"`{facts.get('sha256', run.training.sha256)}`",
                "validation": f"{run.validation.rows:,} rows" if run.validation else "none",
            }
        ),
        "## Results",
        _results(run),
        "Measured while it trained; for answers against those of the base model: `tuneport eval`.",
        "## Training",
        _table(
            {
                "method, adapter": f"{run.spec.method}, {adapter}",
                **{name: f"{value:g}" for name, value in _numbers(run).items()},
                **{name.replace("_", " "): str(value) for name, value in (run.state.get("trainer") or {}).items()},
                "trained weights": _weights(run.state),
                "device": f"{run.state.get('device')}, {run.state.get('precision')}",
                **{name: version for name, version in _read(run.path / ENVIRONMENT).get("packages", {}).items()},
            }
        ),
        "## Use",
        f"```python\n{_usage(run, adapter)}\n```",
        "## Do it again",
        f"```\n{_command(run, adapter)}\n```",
        *_files(folder),
        "## Licence",
        _licence_text(run, front),
    ]
    text = f"---\n{ModelCardData(**front).to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")


def copy_model_card(source: Path, target: Path, figures: Mapping[str, Any]) -> None:
    """Copy the adapter's card for the merged model, with what merging changed. Does nothing if there is none."""
    if not (source / CARD).is_file():
        return
    card = ModelCard.load(source / CARD)
    card.data.library_name = "transformers"
    if card.data.base_model is not None:
        card.data.base_model_relation = "finetune"
    said = (
        f"The adapter is merged into the base weights ({figures['precision']}). On {figures['rows']} training rows the "
        f"logits of both differ by {figures['mean_difference']:.2g} on average and {figures['largest_difference']:.2g} "
        f"at most (the adapter itself moved them by {figures['effect_of_adapter']:.2g} on average); the likeliest "
        f"token is the same at {figures['same_choice']:.1%} of the places."
    )
    if figures["adapter"] == Adapter.QLORA:
        said += " It was trained over 4-bit weights, so it is merged into those, dequantised to 16 bits."
    before, _, usage = card.text.partition("## Use\n")
    _, _, rest = usage.partition("\n## ")
    kind = "AutoModelForSequenceClassification" if "AutoModelForSequenceClassification" in usage else _WRITES
    again, _, files = rest.partition(f"\n{_FILES}\n")
    if files:
        after = files.partition("\n## ")[2]
        rest = "\n\n".join([again.strip(), *_files(target), f"## {after}"])
    card.text = f"{before.replace(_MERGED, said)}## Use\n\n```python\n{_load_whole(kind)}\n```\n\n## {rest}"
    card.save(target / CARD)


def _files(folder: Path) -> list[str]:
    """Return the section that names the digest of each loaded file. The card itself is in the list beside it."""
    listed = {name: f"`{digest}`" for name, digest in digests.folder_digests(folder).items() if name != CARD}
    return [_FILES, _table({"file": "SHA-256", **listed}), f"`sha256sum -c {digests.LIST}` checks them."]


def _load_whole(kind: str) -> str:
    return (
        f"from transformers import {kind}, AutoTokenizer\n\n"
        f'model = {kind}.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    )


def _front_matter(run: TrainingRunFolder, adapter: Adapter, base: Path) -> dict[str, Any]:
    licence = run.base_facts.get("licence") or _licence_of_card(base)
    known = LICENCES.get(str(licence).lower()) if licence else None
    hub = run.base_facts.get("hub")  # the hub refuses a card that names a base which it does not have
    dataset = str(run.spec.dataset)
    fields = {
        "base_model": hub,
        "base_model_relation": None if hub is None else "finetune" if adapter is Adapter.FULL else "adapter",
        "library_name": "transformers" if adapter is Adapter.FULL else "peft",
        "pipeline_tag": "text-classification" if run.spec.method.traits.scores else "text-generation",
        "license": (known or "other") if licence else None,
        "license_name": licence if licence and known is None else None,
        "datasets": [dataset.removeprefix("hf:").strip("/").partition("#")[0]] if dataset.startswith("hf:/") else None,
        "tags": ["tuneport", "trl", run.spec.method.value, adapter.value],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _licence_of_card(base: Path) -> str | None:
    if not (base / CARD).is_file():
        return None
    with contextlib.suppress(Exception):  # another author's file: whatever is wrong with it, the licence is unknown
        value = ModelCard.load(base / CARD).data.license
        return value if isinstance(value, str) else None
    return None


def _licence_text(run: TrainingRunFolder, front: Mapping[str, Any]) -> str:
    name = front.get("license_name") or front.get("license") or "not known here"
    return f"The licence of `{_base_name(run)}` ({name}) applies to this model, too."


def _base_name(run: TrainingRunFolder) -> str:
    """Return the hub's name if there is one, else the folder's own name: a path means nothing elsewhere."""
    name = str(run.base_facts.get("hub") or run.model_name_or_path)
    return Path(name).name if Path(name).is_absolute() else name


def _describe_weights(run: TrainingRunFolder, adapter: Adapter) -> str:
    kind = {Adapter.FULL: "A full fine-tune", Adapter.PREFIX: "A trained prefix", Adapter.PROMPT: "A trained prompt"}
    what = kind.get(adapter, f"A {'QLoRA' if adapter is Adapter.QLORA else 'LoRA'} adapter")
    return f"A reward model, {what.lower()}" if run.spec.method.traits.scores else what


def _results(run: TrainingRunFolder) -> str:
    points = [json.loads(line) for line in _lines(run.path / METRICS)]
    rows: dict[str, str] = {}
    names = {
        "train_loss": "training loss", "valid_loss": "validation loss", "train_accuracy": "token accuracy in training",
        "valid_accuracy": "token accuracy in validation",
    }  # fmt: skip
    for field, name in names.items():
        values = [point[field] for point in points if point.get(field) is not None]
        if values:
            rows[name] = f"{values[0]:.4f} at first, {values[-1]:.4f} at the end"
    rows["steps"] = str(max((point["step"] for point in points), default=0))
    rows["tokens trained on"] = f"{run.state.get('trained_tokens') or 0:,}"
    return _table(rows)


def _weights(state: Mapping[str, Any]) -> str:
    trained, total = state.get("trainable_parameters"), state.get("total_parameters")
    return f"{trained:,} of {total:,}" if trained and total else "unknown"


def _usage(run: TrainingRunFolder, adapter: Adapter) -> str:
    kind = "AutoModelForSequenceClassification" if run.spec.method.traits.scores else _WRITES
    if adapter is Adapter.FULL:
        return _load_whole(kind)
    labels = ", num_labels=1" if run.spec.method.traits.scores else ""
    return (
        f"from peft import PeftModel\nfrom transformers import {kind}, AutoTokenizer\n\n"
        f'model = {kind}.from_pretrained("{_base_name(run)}"{labels})\n'
        'model = PeftModel.from_pretrained(model, ".")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    )


def _command(run: TrainingRunFolder, adapter: Adapter) -> str:
    """Return the submit command that would train it again, with every number as it was."""
    spec = run.spec
    words = ["tuneport", "submit", Path(spec.dataset).name, "--backend", "local", "--model", run.model]
    words += ["--method", spec.method.value, "--adapter", adapter.value]
    numbers = _numbers(run)
    for name in Hyperparameters.model_fields:
        if name in numbers:
            words += ["--set", f"{name}={numbers[name]:g}"]
    for name, value in spec.provider_options.items():
        words += ["--option", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if spec.validation is not None:
        words += ["--validation", Path(spec.validation).name]
    if spec.from_checkpoint is not None:
        words += ["--from-checkpoint", spec.from_checkpoint]
    return shlex.join([*words, "--seed", str(42 if spec.seed is None else spec.seed)])


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _numbers(run: TrainingRunFolder) -> dict[str, float]:
    """Return the hyperparameters that were used; those of other methods and adapters are missing or not numbers."""
    idle = {name for name, value in run.hyperparameters.items() if value == "auto" and name != "max_length"}
    return {
        name: value
        for name, value in run.state.get("hyperparameters", {}).items()
        if name not in idle and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return read_json_object(path)
    return {}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
