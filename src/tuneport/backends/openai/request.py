"""Builds the body of OpenAI's create call from a spec, and refuses what has no place in it. Pure: sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuneport.backends.provider_options import refuse_hyperparameters, refuse_provider_job_fields
from tuneport.client_rules import OperatorOnly, Rule, client_choice_rule
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.manifests import Limit, Manifest
from tuneport.spelling import did_you_mean
from tuneport.types import Method, RemoteFile, TuneSpec

TOKEN_KEY = "tuneport_token"

_COMMON = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate_multiplier",
}
_RFT_ONLY = ("compute_multiplier", "eval_interval", "eval_samples", "reasoning_effort")
HYPERPARAMETERS = {
    Method.SFT: dict(_COMMON),
    Method.DPO: {**_COMMON, "beta": "beta"},
    Method.RFT: {**_COMMON, **{name: name for name in _RFT_ONLY}},
}
_JOB_FIELDS = {
    "training_file": "dataset",
    "validation_file": "validation",
    "hyperparameters": "hyperparameters",  # the API's older place for them, still obeyed
    "n_epochs": "epochs",
}


def openai_client_rules(manifest: Manifest) -> dict[str, Rule]:
    """Return the rules for clients of the manifest's own options; every other field of the request is the
    operator's."""
    closed = OperatorOnly("goes to the provider as a further field of the request", switch="request.*")
    listed = {name: client_choice_rule(*option.values) for name, option in manifest.options.items() if option.clients}
    return {**listed, "*": closed}


def check_openai_spec(manifest: Manifest, spec: TuneSpec) -> None:
    """Raise UnsupportedError or ConfigError for what this provider can never take, by its manifest's limits."""
    name, limits = manifest.name, manifest.limits
    if spec.method not in HYPERPARAMETERS:
        raise UnsupportedError(f"the backend {name} does not train with method {spec.method}")
    refuse_provider_job_fields(name, spec.provider_options, _JOB_FIELDS)
    _check_options(manifest, spec)
    if spec.adapter != "auto":
        raise UnsupportedError(
            f"the backend {name} does not take an adapter ({spec.adapter}): it does not say which weights it "
            "trains; leave it at auto"
        )
    given = spec.hyperparameters.given()
    refuse_hyperparameters(name, given, HYPERPARAMETERS[spec.method], f" with method {spec.method}")
    for field, value in given.items():
        allowed = getattr(limits, field, None)
        if allowed is not None and not isinstance(value, str) and not allowed.contains(value):
            raise UnsupportedError(f"{name} takes {field} of {allowed}, not {value:g}; change it")
    if spec.suffix is not None and not spec.suffix:
        raise ConfigError("the suffix is empty; leave it out, or give it at least one character")
    _at_most(limits.suffix_max, len(spec.suffix or ""), f"{name} takes suffixes of {{}} characters")
    _check_metadata(manifest, spec)


def _check_options(manifest: Manifest, spec: TuneSpec) -> None:
    for option, value in spec.provider_options.items():
        known = manifest.options.get(option)
        if known is None and (meant := did_you_mean(option, manifest.options)):
            raise ConfigError(f"provider_options.{option} is no option of {manifest.name}{meant}")
        if known is not None and str(value).lower() not in [allowed.lower() for allowed in known.values]:
            raise ConfigError(f"provider_options.{option} is one of {', '.join(known.values)}, not {value!r}")
    if spec.wandb is not None and "integrations" in spec.provider_options:
        raise ConfigError("provider_options.integrations clashes with the job's own wandb; give one of them")


def _check_metadata(manifest: Manifest, spec: TuneSpec) -> None:
    name, limits, metadata = manifest.name, manifest.limits, spec.metadata
    if TOKEN_KEY in metadata:
        raise ConfigError(f"metadata.{TOKEN_KEY} is tuneport's own; give it another name")
    # One of the pairs is the token.
    _at_most(limits.metadata_pairs, len(metadata) + 1, f"{name} takes {{}} pairs of metadata, tuneport's own included")
    for key, value in metadata.items():
        _at_most(limits.metadata_key_max, len(key), f"metadata.{key[:80]}: {name} takes keys of {{}} characters")
        _at_most(limits.metadata_value_max, len(value), f"metadata.{key[:80]}: {name} takes values of {{}} characters")


def _at_most(limit: Limit | None, number: int, words: str) -> None:
    if limit is not None and number > limit.value:
        raise ConfigError(f"{words.format(f'up to {limit.value}')}, not {number}; shorten it")


def build_openai_job_request(spec: TuneSpec, model: str, files: Sequence[RemoteFile], token: str) -> dict[str, Any]:
    """Return the arguments of the SDK's `fine_tuning.jobs.create`. Values of `auto` are left out: that is the API's
    default."""
    kind = spec.method.traits.openai
    assert kind is not None  # refused before
    names = HYPERPARAMETERS[spec.method]
    settings: dict[str, Any] = {
        "hyperparameters": {names[name]: value for name, value in spec.hyperparameters.given().items()}
    }
    if spec.grader is not None:
        settings["grader"] = spec.grader
    by_purpose = {file.purpose: file.id for file in files}
    request: dict[str, Any] = {
        "model": model,
        "training_file": by_purpose["training"],
        "method": {"type": kind, kind: settings},
        "metadata": {**spec.metadata, TOKEN_KEY: token},
    }
    if spec.wandb is not None:
        run = {name: value for name, value in spec.wandb.model_dump(mode="json").items() if value}
        request["integrations"] = [{"type": "wandb", "wandb": run}]
    optional = {"validation_file": by_purpose.get("validation"), "suffix": spec.suffix, "seed": spec.seed}
    request |= {name: value for name, value in optional.items() if value is not None}
    return request | ({"extra_body": spec.provider_options} if spec.provider_options else {})
