"""A GPU of one's own, owned or rented, and what an hour of it costs."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.errors import ConfigError
from tuneport.estimate.cost.serving import measured_speed
from tuneport.estimate.cost.traffic import Traffic
from tuneport.manifests import CatalogueGPU, Offer

MOST_USD_PER_HOUR = 1000.0
"""No single machine costs more an hour; more tells of a purchase price or a month's rent."""


@dataclass(frozen=True)
class OwnGPUCost:
    """A GPU to train on and to serve from: one of `gpus.toml`, rented at its `offer`, or owned at `usd_per_hour` all in
    all (purchase over its life, power, housing). A price is of one GPU, or with `whole_machine` of a machine with as
    many as the model needs. `tokens_per_second` was measured: written by the whole machine, the prompts included in the
    time. ConfigError for numbers that cannot be."""

    gpu: CatalogueGPU | None = None
    usd_per_hour: float | None = None
    offer: Offer | None = None
    tokens_per_second: float | None = None
    whole_machine: bool = False

    def __post_init__(self) -> None:
        if self.usd_per_hour is not None and not 0 <= self.usd_per_hour <= MOST_USD_PER_HOUR:
            raise ConfigError(f"{self.usd_per_hour:g} is not an hourly price; give US dollars per hour of one machine")
        if self.tokens_per_second is not None:
            measured_speed(self.tokens_per_second, Traffic(0, 0))

    @property
    def usd_hourly(self) -> float | None:
        """Return US dollars an hour for one GPU, or for the whole machine, or None if the price is unknown."""
        if self.usd_per_hour is not None:
            return self.usd_per_hour
        return None if self.offer is None else self.offer.usd_per_gpu_hour

    @property
    def rental_offer(self) -> Offer | None:
        """Return the offer behind the hourly price, or None for a GPU that is owned."""
        return None if self.usd_per_hour is not None else self.offer

    @property
    def name(self) -> str:
        """Return the owner and the machine: "Lambda's H100 SXM", "your own machine"."""
        whose = "your own" if self.rental_offer is None else f"{self.rental_offer.provider}'s"
        return f"{whose} {self.gpu.name if self.gpu else 'machine'}"
