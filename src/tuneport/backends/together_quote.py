"""What Together itself asks for a job; and its published table, said to be that, where it gives no estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.errors import TuneportError
from tuneport.manifests import Manifest
from tuneport.types import Adapter, Quote, RemoteFile, TuneSpec

if TYPE_CHECKING:
    from tuneport.data.tokens import TokenCounts

_REASONS = {
    "multimodal_dataset": "it does not estimate datasets with images",
    "train_file_not_validated": "the training file is not validated yet",
    "eval_file_not_validated": "the validation file is not validated yet",
    "train_file_invalid": "the training file is invalid",
    "eval_file_invalid": "the validation file is invalid",
}


def estimate_request(arguments: Mapping[str, Any], training_type: Any, training_method: Any) -> dict[str, Any]:
    """The arguments of `estimate_price` for a job with these of `create`."""
    names = ("training_file", "validation_file", "model", "from_checkpoint", "n_epochs", "n_evals")
    request = {name: arguments[name] for name in names if arguments.get(name) is not None}
    kind = {} if training_type is None else {"training_type": training_type}
    return {**request, **kind, "training_method": training_method}


def unavailable_reason(provider: str, estimate: Mapping[str, Any]) -> str | None:
    """Why there is no estimate, in words; None where there is one."""
    if estimate.get("estimation_available") and estimate.get("estimated_total_price") is not None:
        return None
    word = str(estimate.get("unavailable_reason") or "it does not say why")
    return f"{provider} gives no estimate: {_REASONS.get(word, word)}"


def refusal(provider: str, estimate: Mapping[str, Any]) -> str | None:
    """What to tell where the account may not start the job; None where it may."""
    if estimate.get("allowed_to_proceed", True) is not False:
        return None
    price, limit = estimate.get("estimated_total_price"), estimate.get("user_limit")
    asked = "its price" if price is None else f"${price:,.2f}"
    allowed = "this account's limit" if limit is None else f"this account's limit of ${limit:,.2f}"
    return (
        f"{provider} does not allow the job: {asked} is more than {allowed}; nothing was started; add credit there, "
        "or train on fewer tokens"
    )


def quote_of(manifest: Manifest, model: str, estimate: Mapping[str, Any]) -> Quote:
    """The provider's own quote. Validation tokens and the minimum of a job are counted in it."""
    tokens, held_out = (int(estimate.get(f"estimated_{word}_token_count") or 0) for word in ("train", "eval"))
    evaluations = f" and {held_out:,} of evaluations" if held_out else ""
    barred = refusal(manifest.name, estimate)
    return Quote(
        backend=manifest.name,
        model=model,
        expected=estimate["estimated_total_price"],
        authority="provider",
        explanation=f"{manifest.name}'s own estimate for {tokens:,} training tokens{evaluations}, all epochs together"
        + (f"; {barred}" if barred else ""),
    )


def table_quote(
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
    """By the published table, with `because` in front of how it was reckoned; unknown where that cannot be done well.

    Counted are the copies of `files` in the folder `prepared`: what was uploaded, whatever has become of the dataset.
    `images`: the service has found some. `padded_to`: without packing each row is billed as so many tokens.
    """
    from tuneport.data.tokens import OTHER_VOCABULARY
    from tuneport.estimate.cost import training_quote

    model = manifest.offered(spec.model)
    if model is None:
        return Quote.unknown(manifest.name, spec.model, f"{because}; and the published table does not know the model")
    try:
        training = _counted("training", spec.dataset, spec, files, prepared)
        held_out = None if spec.validation is None else _counted("validation", spec.validation, spec, files, prepared)
    except TuneportError as error:
        return Quote.unknown(manifest.name, spec.model, f"{because}; and the tokens cannot be counted here: {error}")
    counts = [training] if held_out is None else [training, held_out]
    if images or any("image" in count.reason for count in counts):
        return Quote.unknown(manifest.name, spec.model, f"{because}; and nobody says how many tokens an image is there")
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


def _counted(purpose: str, dataset: Path, spec: TuneSpec, files: Sequence[RemoteFile], prepared: Path) -> TokenCounts:
    """The tokens of the prepared copy; of the dataset itself where that copy is gone."""
    from tuneport.data.reading import columns_there
    from tuneport.data.tokens import count_dataset

    copies = [prepared / f"{file.sha256}.jsonl" for file in files if file.purpose == purpose and file.sha256]
    if copies and copies[0].is_file():
        return count_dataset(copies[0])
    columns = spec.columns if purpose == "training" else columns_there(dataset, spec.columns)
    return count_dataset(dataset, columns=columns)
