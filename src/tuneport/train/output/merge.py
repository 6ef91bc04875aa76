"""Merges an adapter into the weights of its base, on disk: `python -m tuneport.train.output.merge RUN ADAPTER TARGET`.

Prints one JSON line: what was measured, or `{"error": {"code", "message"}}` with exit code 1. TARGET must not exist;
the parent renames it. Nothing of the run changes. Works on the CPU, in the precision of the base's own
files, with one copy of the model in memory at a time.

An adapter that was trained over a 4-bit base is merged into that base as it was, dequantised to 16 bits, not into the
weights from which it was made: it has learned to make up for their rounding, too.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tuneport import digests
from tuneport.base_models import BaseModelDevice, choose_base_model_device, locate_base_model, materialise_base_model
from tuneport.data.reading import read_records
from tuneport.data.tokens.tokenizer import training_template_renderer
from tuneport.errors import TrainingError, UnsupportedError
from tuneport.train.model.loading import load_trainable_model
from tuneport.train.output.model_card import copy_model_card
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.train.speed.row_tokens import training_row_token_ids
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter

CHECKED_ROWS, CHECKED_TOKENS = 4, 512
SHARD_SIZE = "5GB"
TOLERANCE = {torch.float32: 1e-4}
HALF_TOLERANCE = 0.05
"""Of the mean difference between logits, in standard deviations of the logits. In 16 bits each merged weight is rounded
once more and the products are added up in another order: 0.01 for SmolLM2-135M in bf16."""


def merge_adapter(run: TrainingRunFolder, weights: Path, target: Path) -> dict[str, Any]:
    """Write the merged model to `target`, read it back, and return how far its logits are from the adapter's.

    Raises TrainingError if rounding does not explain the difference; raises UnsupportedError for an adapter that
    changes no weights.
    """
    adapter = Adapter(run.spec.adapter)
    if adapter.has_virtual_tokens:
        raise UnsupportedError(f"a trained {adapter} stands before every input and is in no weight of the model")
    options = TrainingOptions.parse(run.spec.provider_options)
    base = materialise_base_model(locate_base_model(run.model_name_or_path, home=run.home), home=run.home)
    rows = _rows(run, base, options.trust_remote_code)
    load = _loader(run, base, adapter, options)
    tuned = PeftModel.from_pretrained(load(), str(weights)).eval()
    expected = _logits(tuned, rows)
    with tuned.disable_adapter():
        plain = _logits(tuned, rows)
    if adapter is Adapter.QLORA:
        del tuned
        tuned = PeftModel.from_pretrained(_dequantised(load(), base, options), str(weights)).eval()
    merged = tuned.merge_and_unload(safe_merge=True)
    merged.save_pretrained(target, max_shard_size=SHARD_SIZE)
    AutoTokenizer.from_pretrained(base, trust_remote_code=options.trust_remote_code).save_pretrained(target)
    dtype = merged.dtype
    del merged, tuned
    saved = _class(run).from_pretrained(target, dtype="auto", trust_remote_code=options.trust_remote_code).eval()
    found = _logits(saved, rows)
    figures: dict[str, Any] = {**compare_merged_logits(expected, found, plain)}
    figures |= {"rows": len(rows), "precision": str(dtype).removeprefix("torch."), "adapter": adapter.value}
    if not figures["relative_difference"] <= TOLERANCE.get(dtype, HALF_TOLERANCE):  # NaN is refused, too
        raise TrainingError(
            f"the merged model's answers differ from the adapter's (logits differ by "
            f"{figures['relative_difference']:.2g} standard deviations on {len(rows)} training rows); nothing was "
            "written; download the adapter without --merged"
        )
    copy_model_card(weights, target, figures)
    digests.write_digest_list(target)
    return figures


def compare_merged_logits(
    expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], plain: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Compare logits at the same positions: the mean and largest difference, the mean in standard deviations of the
    expected ones, how much the adapter itself had changed them, and how often the likeliest token is the same."""
    flat = [torch.cat([row.flatten() for row in rows]) for rows in (expected, found, plain)]
    difference, effect = (flat[1] - flat[0]).abs(), (flat[0] - flat[2]).abs()
    spread = flat[0].std() if len(flat[0]) > 1 else flat[0].abs().mean()
    same = torch.cat([(a.argmax(-1) == b.argmax(-1)).flatten() for a, b in zip(expected, found, strict=True)])
    return {
        "mean_difference": difference.mean().item(),
        "largest_difference": difference.max().item(),
        "relative_difference": (difference.mean() / spread).item(),
        "effect_of_adapter": effect.mean().item(),
        "same_choice": same.float().mean().item(),
    }


def _loader(run: TrainingRunFolder, base: Path, adapter: Adapter, options: TrainingOptions) -> Callable[[], Any]:
    scores = run.spec.method.traits.scores
    if adapter is Adapter.QLORA:
        device = BaseModelDevice("cpu", choose_base_model_device(options.precision).precision.replace("fp16", "fp32"))
        return lambda: load_trainable_model(
            base, device, adapter, scores=scores, trust_remote_code=options.trust_remote_code
        )
    labels = {"num_labels": 1} if scores else {}
    return lambda: _class(run).from_pretrained(
        base, dtype="auto", trust_remote_code=options.trust_remote_code, **labels
    )


def _class(run: TrainingRunFolder) -> Any:
    return AutoModelForSequenceClassification if run.spec.method.traits.scores else AutoModelForCausalLM


def _dequantised(model: Any, base: Path, options: TrainingOptions) -> Any:
    """Return the 4-bit model's weights in 16 bits, in a model without a quantiser."""
    config = AutoConfig.from_pretrained(base, trust_remote_code=options.trust_remote_code)
    dtype = config.dtype if config.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16
    if model.config.get_text_config().vocab_size != config.get_text_config().vocab_size:
        raise TrainingError("the base model's vocabulary has changed since training; fetch it again")
    model = model.dequantize(dtype=dtype)
    config.num_labels = getattr(model.config, "num_labels", None) or config.num_labels
    fresh = type(model)(config).to(dtype)
    fresh.load_state_dict({name: value.to(dtype) for name, value in model.state_dict().items()}, assign=True)
    fresh.tie_weights()
    fresh.generation_config = getattr(model, "generation_config", None)
    return fresh


def _rows(run: TrainingRunFolder, base: Path, trust_remote_code: bool) -> list[list[int]]:
    """Return the token ids of the first training rows, as they were trained on."""
    renderer = training_template_renderer(base, None, trust_remote_code=trust_remote_code)
    records = islice(read_records(run.training.path, run.training.format), CHECKED_ROWS)
    rows = renderer.render_for(run.spec.method, records, path=str(run.training.path))
    return [training_row_token_ids(row)[:CHECKED_TOKENS] for row in rows]


@torch.no_grad()
def _logits(model: Any, rows: Sequence[list[int]]) -> list[torch.Tensor]:
    """Return the logits of each row, tokens by vocabulary (a reward model's: one score), in fp32."""
    found = []
    for ids in rows:
        given = torch.tensor([ids])
        found.append(model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[0].float())
    return found


def run_trained_adapter_merge(arguments: list[str]) -> int:
    folder, weights, target = (Path(argument) for argument in arguments)
    try:
        figures = merge_adapter(TrainingRunFolder(folder), weights, target)
    except Exception as error:
        traceback.print_exc()
        from tuneport.train.run.failures import training_job_error

        failure = training_job_error(error)
        message = " ".join(str(error).split()) if failure.code == "training_failed" else failure.message
        print(json.dumps({"error": {"code": failure.code, "message": message}}))
        return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m tuneport.train.output.merge RUN_FOLDER ADAPTER TARGET")
    sys.exit(run_trained_adapter_merge(sys.argv[1:]))
