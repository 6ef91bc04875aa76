"""Why a backend cannot run a spec. One function a reason; each returns what it found, and an empty list allows."""

from __future__ import annotations

from datetime import date

from tuneport.estimate.memory import MemoryEstimate
from tuneport.formatting import money
from tuneport.installation import install_extra
from tuneport.manifests import Confidence, Manifest, OfferedModel, load_manifest, manifest_names
from tuneport.router.choice import BackendChoiceTokens, BackendRefusal, DatasetFacts, Machine, Readiness
from tuneport.types import Method, Quote, TuneSpec


def unverified_backend_remark(manifest: Manifest, source: str | None) -> str:
    """Return the remark that a source was not verified, or "" if it was."""
    if source is None or manifest.sources[source].confidence is not Confidence.UNVERIFIED:
        return ""
    return f" (not verified: {manifest.sources[source].note or manifest.sources[source].url})"


def refuse_backend_of_retired_model(manifest: Manifest, model: OfferedModel, today: date) -> list[BackendRefusal]:
    found = []
    if model.retired(today):
        remark = unverified_backend_remark(manifest, model.retires_source)
        told = f"{manifest.title} retired {model.id} on {model.retires}{remark}"
        found.append(BackendRefusal("ended", f"{told}; choose another model"))
    if manifest.no_new_jobs_from is not None and today >= manifest.no_new_jobs_from:
        day = manifest.no_new_jobs_from
        found.append(BackendRefusal("ended", f"{manifest.title} takes no new jobs since {day}; choose another backend"))
    return found


def refuse_backend_for_spec(spec: TuneSpec, manifest: Manifest, model: OfferedModel) -> list[BackendRefusal]:
    if manifest.no_training is not None:
        return [BackendRefusal("unsupported", manifest.no_training.text)]
    found = []
    if spec.method not in model.methods:
        can = ", ".join(model.methods) or "nothing any more"
        found.append(
            BackendRefusal(
                "unsupported", f"{manifest.title} does not offer {spec.method} for {model.id} (it offers: {can})"
            )
        )
    if spec.adapter != "auto" and spec.adapter not in model.adapters:
        can = f"it does: {', '.join(model.adapters)}" if model.adapters else "it chooses the adapter itself; use auto"
        found.append(
            BackendRefusal(
                "unsupported", f"{manifest.title} does not take adapter {spec.adapter} for {model.id} ({can})"
            )
        )
    given, limits = spec.hyperparameters.given(), manifest.limits
    for name in (
        "epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "max_length", "beta", "compute_multiplier",
    ):  # fmt: skip
        allowed = getattr(limits, name)
        if name in given and allowed is not None and not allowed.contains(given[name]):
            found.append(
                BackendRefusal(
                    "unsupported", f"{manifest.title} takes {name} of {allowed}, not {given[name]:g}; change it"
                )
            )
    for name, most in (("batch_size", model.batch_size_max), ("lora_rank", model.lora_rank_max)):
        if name in given and most is not None and given[name] > most:
            found.append(
                BackendRefusal(
                    "unsupported", f"{manifest.title} takes {name} up to {most} for {model.id}, not {given[name]:g}"
                )
            )
    if spec.suffix and limits.suffix_max and len(spec.suffix) > limits.suffix_max.value:
        found.append(
            BackendRefusal(
                "unsupported", f"{manifest.title} takes suffixes of up to {limits.suffix_max.value} characters"
            )
        )
    return found


def refuse_backend_for_dataset(
    spec: TuneSpec, manifest: Manifest, model: OfferedModel, dataset: DatasetFacts, tokens: BackendChoiceTokens
) -> list[BackendRefusal]:
    found = []
    least = manifest.limits.min_examples
    if least is not None and dataset.rows < least.value:
        found.append(
            BackendRefusal(
                "data", f"{manifest.title} needs at least {least.value} examples and the dataset has {dataset.rows}"
            )
        )
    most = manifest.limits.max_upload_bytes or manifest.limits.max_file_bytes
    if most is not None and dataset.bytes is not None and dataset.bytes > most.value:
        found.append(
            BackendRefusal(
                "data", f"{manifest.title} takes files of up to {most.value:,} bytes, not {dataset.bytes:,}; split it"
            )
        )
    # The local trainer cuts a longer example and names it; elsewhere that would happen out of sight, for money.
    context = model.context_for(spec.method) if manifest.third_party else None
    if context is not None and tokens.longest is not None and tokens.longest > context:
        about = "about " if tokens.approximate else ""
        found.append(
            BackendRefusal(
                "data",
                f"the longest example has {about}{tokens.longest:,} tokens and {model.id} trains on {context:,} at "
                f"{manifest.title}; shorten it or choose another model",
            )
        )
    return found


def refuse_backend_for_images(
    method: Method, manifest: Manifest, model: OfferedModel, dataset: DatasetFacts, today: date
) -> list[BackendRefusal]:
    if not dataset.image_rows or model.takes_images is not False:
        return []
    told = f"{model.id} at {manifest.title} takes no images, and {dataset.image_rows:,} rows show some"
    able = ", ".join(name_image_models(method, today))
    return [BackendRefusal("data", f"{told}; take a model that does ({able}), or leave those rows out")]


def name_image_models(method: Method, today: date) -> list[str]:
    """Return the models that train on images by this method, as BACKEND/MODEL: two at most of each backend."""
    found = []
    for name in manifest_names():
        manifest = load_manifest(name)
        if manifest.hidden or (manifest.no_new_jobs_from is not None and today >= manifest.no_new_jobs_from):
            continue
        able = [model for model in manifest.models if model.takes_images and method in model.methods]
        found += [f"{name}/{model.id}" for model in able if not model.retired(today)][:2]
    return found


def refuse_unready_backend(manifest: Manifest, ready: Readiness | None) -> list[BackendRefusal]:
    if ready is None:
        return []
    found = []
    if manifest.extra is not None and manifest.name not in ready.installed:
        found.append(BackendRefusal("extra", f"{manifest.title} needs an extra: {install_extra(manifest.extra)}"))
    if manifest.api_key_env is not None and manifest.name not in ready.with_key:
        found.append(
            BackendRefusal(
                "key", f"no key for {manifest.title}: set {manifest.api_key_env} in the environment or in .env"
            )
        )
    if manifest.name in ready.without_address:
        variable = f"TUNEPORT_{manifest.name.upper().replace('-', '_')}_BASE_URL"
        form = f", which looks like {manifest.base_url_form}" if manifest.base_url_form else ""
        found.append(BackendRefusal("address", f"no address for {manifest.title}: set {variable}{form}"))
    if manifest.name in ready.without_weights:
        found.append(BackendRefusal("weights", ready.without_weights[manifest.name]))
    return found


def refuse_backend_short_of_memory(
    spec: TuneSpec, memory: MemoryEstimate | None, machine: Machine, model: OfferedModel
) -> list[BackendRefusal]:
    if spec.provider_options.get("allow_oversize") is True:
        return []
    if memory is None or machine.memory_gib is None or memory.fits(machine.memory_gib):
        return []
    return [
        BackendRefusal(
            "memory",
            f"{model.id} needs about {memory.high_gib:.1f} GiB ({memory.explanation}) and this machine has "
            f"{machine.memory_gib:.1f}; use adapter=qlora, a smaller model or another backend",
        )
    ]


def refuse_backend_over_budget(spec: TuneSpec, quote: Quote, manifest: Manifest) -> list[BackendRefusal]:
    if spec.budget is None:
        return []
    if quote.expected is None:
        return [
            BackendRefusal(
                "budget", f"the cost on {manifest.title} is unknown ({quote.unavailable}) and a budget is given"
            )
        ]
    worst = quote.expected if quote.high is None else quote.high
    if worst <= spec.budget:
        return []
    return [
        BackendRefusal(
            "budget",
            f"{manifest.title} would cost up to {money(worst)} ({quote.explanation}), above the budget of "
            f"{money(spec.budget)}; raise the budget or train on less",
        )
    ]
