"""Together's own estimate for a job, or a quote by its published table, marked as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.errors import TuneportError
from tuneport.formatting import money
from tuneport.manifests import Manifest, find_manifest_model
from tuneport.types import Adapter, Quote, RemoteFile, TuneSpec

if TYPE_CHECKING:
    from tuneport.data.tokens.tokens import TokenCounts

_REASONS = {
    "multimodal_dataset": "it does not estimate datasets with images",
    "train_file_not_validated": "the training file is not validated yet",
    "eval_file_not_validated": "the validation file is not validated yet",
    "train_file_invalid": "the training file is invalid",
    "eval_file_invalid": "the validation file is invalid",
}


def build_together_estimate_request(
    arguments: Mapping[str, Any], training_type: Any, training_method: Any
) -> dict[str, Any]:
    """Return the arguments of `estimate_price` for a job with these of `create`."""
    names = ("training_file", "validation_file", "model", "from_checkpoint", "n_epochs", "n_evals")
    request = {name: arguments[name] for name in names if arguments.get(name) is not None}
    kind = {} if training_type is None else {"training_type": training_type}
    return {**request, **kind, "training_method": training_method}


def together_quote_missing_reason(provider: str, estimate: Mapping[str, Any]) -> str | None:
    """Return why there is no estimate, as text, or None if there is one."""
    if estimate.get("estimation_available") and estimate.get("estimated_total_price") is not None:
        return None
    word = str(estimate.get("unavailable_reason") or "it gives no reason")
    return f"{provider} gives no estimate: {_REASONS.get(word, word)}"


def parse_together_quote_refusal(provider: str, estimate: Mapping[str, Any]) -> str | None:
    """Return the message if the account may not start the job, or None if it may."""
    if estimate.get("allowed_to_proceed", True) is not False:
        return None
    price, limit = estimate.get("estimated_total_price"), estimate.get("user_limit")
    asked = "its price" if price is None else money(price)
    allowed = "this account's limit" if limit is None else f"this account's limit of {money(limit)}"
    return (
        f"{provider} does not allow the job: {asked} is more than {allowed}; nothing was started; add credit there, "
        "or train on fewer tokens"
    )


def parse_together_quote(manifest: Manifest, model: str, estimate: Mapping[str, Any]) -> Quote:
    """Return the provider's own quote. It includes validation tokens and the minimum of a job."""
    tokens, held_out = (int(estimate.get(f"estimated_{word}_token_count") or 0) for word in ("train", "eval"))
    evaluations = f" and {held_out:,} of evaluations" if held_out else ""
    barred = parse_together_quote_refusal(manifest.name, estimate)
    return Quote(
        backend=manifest.name,
        model=model,
        expected=estimate["estimated_total_price"],
        authority="provider",
        explanation=f"{manifest.name}'s own estimate for {tokens:,} training tokens{evaluations}, all epochs together"
        + (f"; {barred}" if barred else ""),
    )


def together_quote_from_table(
    manifest: Manifest,
    spec: TuneSpec,
    arguments: Mapping[str, Any],
    because: str,
    files: Sequence[RemoteFile],
    prepared: Path,
    *,
    images: bool = False,
    padded_to: int | None = None,
) -> Quote:
    """Quote by the published table, with `because` in front of the calculation; unknown if that is not possible.

    Counts the copies of `files` in the folder `prepared`: what was uploaded, even if the dataset has changed. `images`:
    the service has found some. `padded_to`: without packing each row is billed as so many tokens.
    """
    from tuneport.data.tokens.tokens import OTHER_VOCABULARY
    from tuneport.estimate.cost import training_quote

    model = find_manifest_model(manifest, spec.model)
    if model is None:
        return Quote.unknown(manifest.name, spec.model, f"{because}; and the published table does not have the model")
    try:
        training = _counted("training", spec, files, prepared)
        held_out = None if spec.validation is None else _counted("validation", spec, files, prepared)
    except TuneportError as error:
        return Quote.unknown(manifest.name, spec.model, f"{because}; and the tokens cannot be counted here: {error}")
    counts = [training] if held_out is None else [training, held_out]
    if images or any("image" in count.reason for count in counts):
        return Quote.unknown(
            manifest.name, spec.model, f"{because}; and the provider does not say how many tokens an image has"
        )
    quote = training_quote(
        manifest,
        model,
        tokens_per_epoch=training.total,
        epochs=arguments["n_epochs"],
        validation_tokens=held_out.total if held_out else 0,
        evaluations=arguments.get("n_evals") or 0,
        method=spec.method,
        adapter=Adapter.LORA if spec.adapter == "auto" else spec.adapter,
        rows=training.rows,
        validation_rows=held_out.rows if held_out else 0,
        packing=padded_to is None,
        max_length=padded_to,
        low=min(count.low / max(1, count.total) for count in counts) * OTHER_VOCABULARY[0],
        high=max(count.high / max(1, count.total) for count in counts) * OTHER_VOCABULARY[1],
        approximate_because=f"tokens are counted with {training.encoding}, not with the model's own vocabulary",
    )
    if quote.expected is None:
        return Quote.unknown(manifest.name, spec.model, f"{because}; and {quote.unavailable}")
    return quote.model_copy(update={"explanation": f"{because}; by the published table: {quote.explanation}"})


def _counted(purpose: str, spec: TuneSpec, files: Sequence[RemoteFile], prepared: Path) -> TokenCounts:
    """Count the tokens of the prepared copy, or of the dataset itself if that copy is gone."""
    from tuneport.data.dataset import Dataset
    from tuneport.data.tokens.tokens import count_dataset_tokens

    copies = [prepared / f"{file.sha256}.jsonl" for file in files if file.purpose == purpose and file.sha256]
    if copies and copies[0].is_file():
        return count_dataset_tokens(copies[0])
    dataset = Dataset(spec.dataset, spec.columns)
    if purpose == "validation" and spec.validation is not None:
        dataset = dataset.validation_like(spec.validation)
    return count_dataset_tokens(dataset)
