"""The content of `models.toml` and `gpus.toml`: the same weights under every provider's name, and GPUs with their
prices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator

from tuneport.errors import ConfigError
from tuneport.manifests.sources import Confidence, Sourced
from tuneport.types import Model


class ModelDimensions(Model):
    """A decoder's shape, as its public config gives it. `head_dim` None: hidden_size / heads."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int | None = None
    intermediate_size: int
    vocab_size: int
    tied_embeddings: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelDimensions:
        """Read the dimensions from a model's `config.json` (its text part, if it has several).

        Raises ConfigError for one that tells too little, and for mixtures of experts, whose layers are of another kind.
        """
        text = config.get("text_config") or config
        if experts := text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts"):
            raise ConfigError(f"a mixture of {experts} experts has other layers than the estimate knows; give its size")
        names = {
            "hidden_size": "hidden_size",
            "num_hidden_layers": "layers",
            "num_attention_heads": "heads",
            "intermediate_size": "intermediate_size",
            "vocab_size": "vocab_size",
        }
        if missing := [name for name in names if not isinstance(text.get(name), int)]:
            raise ConfigError(f"config.json does not tell {', '.join(missing)}; name the model's size another way")
        known = {ours: text[theirs] for theirs, ours in names.items()}
        return cls(
            **known,
            kv_heads=text.get("num_key_value_heads") or known["heads"],
            head_dim=text.get("head_dim"),
            tied_embeddings=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))),
        )

    @property
    def query_width(self) -> int:
        return self.heads * (self.head_dim or self.hidden_size // self.heads)

    @property
    def key_width(self) -> int:
        return self.kv_heads * (self.head_dim or self.hidden_size // self.heads)


class Weights(Model):
    """The same weights wherever they are offered. `ids`: backend name to that backend's own id."""

    title: str
    licence: str
    params_b: float | None = Field(default=None, description="total parameters, billions")
    context: int | None = Field(default=None, description="tokens")
    hub: str | None = Field(default=None, description="hub id of the weights; None if they are not public")
    bundled: str | None = Field(default=None, description="a package that carries the weights")
    ids: dict[str, str] = Field(default_factory=dict)
    dimensions: ModelDimensions | None = None
    source: str


class ModelCatalogue(Sourced):
    """`providers/models.toml`: weights by name, and the demonstration's aliases."""

    weights: dict[str, Weights]
    aliases: dict[str, dict[str, str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _local_ids(self) -> ModelCatalogue:
        for name, weights in self.weights.items():
            if "local" in weights.ids:
                raise ValueError(f"{name}: the local id is the name itself; give hub, not ids.local")
        return self

    def find(self, name_or_hub_id: str) -> Weights | None:
        """Return the row by its name or by its hub id."""
        if name_or_hub_id in self.weights:
            return self.weights[name_or_hub_id]
        return next((row for row in self.weights.values() if row.hub == name_or_hub_id), None)

    def name_of(self, backend: str, model_id: str) -> str | None:
        """Return the weights name behind a backend's own id."""
        for name, row in self.weights.items():
            if row.ids.get(backend) == model_id or (backend == "local" and model_id in (name, row.hub)):
                return name
        return None


OfferKind = Literal["on demand", "community", "marketplace", "serverless", "part"]


class Offer(Model):
    """One priced way to rent a GPU: US dollars per GPU and hour.

    `kind` is its class: `community` and `marketplace` GPUs stand at other people's and may be taken away, `serverless`
    is billed while it works and for a short time after, and a `part` is no machine to rent alone.
    """

    provider: str
    usd_per_gpu_hour: float = Field(ge=0)
    kind: OfferKind
    instance: str = ""
    gpus_in_instance: int = 1
    region: str = ""
    source: str
    as_of: date
    confidence: Confidence
    note: str = ""


class CatalogueGPU(Model):
    """`bf16_tflops`: peak dense TFLOP/s in bf16 (fp16 if the card has no bf16); `bandwidth_gbps`: of its memory, in
    GB/s; None if unknown."""

    name: str
    vram_gib: float
    bf16_tflops: float | None = None
    bf16_tflops_source: str | None = None
    bandwidth_gbps: float | None = None
    offers: tuple[Offer, ...] = ()

    @model_validator(mode="after")
    def _numbers_have_sources(self) -> CatalogueGPU:
        if self.bf16_tflops is not None and self.bf16_tflops_source is None:
            raise ValueError("bf16_tflops needs bf16_tflops_source")
        return self

    def cheapest(self, provider: str | None = None) -> Offer | None:
        """Return the cheapest offer of a whole machine, of `provider` if given; an unverified one only if there is no
        other."""
        offers = [
            row
            for row in self.offers
            if row.kind != "part" and (provider is None or row.provider.lower() == provider.lower())
        ]
        return min(
            offers, key=lambda row: (row.confidence is Confidence.UNVERIFIED, row.usd_per_gpu_hour), default=None
        )


class GPUCatalogue(Sourced):
    """`providers/gpus.toml`."""

    gpus: tuple[CatalogueGPU, ...]

    def find(self, name: str) -> CatalogueGPU:
        """Return the first row with every word of `name` ("H100", "a100 80gb", "4090"); else the one most like a
        driver's name with the same chip ("NVIDIA A100-SXM4-40GB"). Raises ConfigError if neither is there."""
        wanted = _words(name)
        exact = [gpu for gpu in self.gpus if _words(gpu.name) == wanted]
        for gpu in exact or [gpu for gpu in self.gpus if wanted and wanted <= _words(gpu.name)]:
            return gpu
        alike = [gpu for gpu in self.gpus if _chip(gpu.name) in wanted]
        if alike:
            return max(alike, key=lambda gpu: len(_words(gpu.name) & wanted))
        names = ", ".join(gpu.name for gpu in self.gpus)
        raise ConfigError(f"the GPU {name!r} is not known; use one of: {names}")


class RivalModel(Model):
    """A model of today to prompt in place of tuning, by its name in the table of prices."""

    name: str
    source: str
    as_of: date


class RivalCatalogue(Sourced):
    """`providers/rivals.toml`. A choice is old after `max_age_days`."""

    max_age_days: int
    rivals: tuple[RivalModel, ...]


def _words(name: str) -> frozenset[str]:
    return frozenset(_spelt(name))


def _chip(name: str) -> str:
    return next(word for word in _spelt(name) if any(letter.isdigit() for letter in word))


def _spelt(name: str) -> list[str]:
    """Return the spellings of a GPU's name. Drivers write the socket with its generation, SXM4 or SXM5."""
    return [re.sub(r"^sxm\d$", "sxm", word) for word in re.findall(r"[a-z0-9]+", name.lower())]
