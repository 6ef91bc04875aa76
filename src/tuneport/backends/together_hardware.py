"""On what hardware a model can be served at Together, and what an hour of it costs there now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.errors import UnsupportedError


@dataclass(frozen=True)
class Choice:
    """What to deploy: resource names of the weights and of a configuration, and the instance type that it runs on."""

    model: str
    config: str
    hardware: str
    usd_per_hour: float | None


def instance_types(client: Any) -> list[dict[str, Any]]:
    return [each.to_dict(mode="json") for each in client.endpoints.hardware.list().data]


def choose(
    provider: str,
    name: str,
    model: str,
    configs: Sequence[Mapping[str, Any]],
    types: Sequence[Mapping[str, Any]],
    hardware: str | None,
) -> Choice:
    """The cheapest configuration, of those whose hardware has `hardware` in its name if that is given.

    UnsupportedError where the model cannot be hosted, or not on that hardware; it lists what there is.
    """
    choices = [
        Choice(model, f"projects/{config['projectId']}/configs/{config['id']}", name_, price_of(name_, types))
        for config in configs
        if (name_ := _hardware_of(config)) is not None
    ]
    if not choices:
        raise UnsupportedError(
            f"{provider} has no configuration to host {name} with; download the weights and run them locally"
        )
    choices.sort(key=lambda choice: (choice.usd_per_hour is None, choice.usd_per_hour or 0.0, choice.config))
    fitting = [choice for choice in choices if hardware is None or hardware.lower() in choice.hardware.lower()]
    if not fitting:
        offered = ", ".join(
            f"{choice.hardware} (${choice.usd_per_hour:.2f}/h)" if choice.usd_per_hour is not None else choice.hardware
            for choice in choices
        )
        raise UnsupportedError(f"{provider} hosts {name} on {offered}, not on {hardware}; name one of these")
    return fitting[0]


def price_of(hardware: str, types: Sequence[Mapping[str, Any]]) -> float | None:
    """US dollars an hour for one replica; None for hardware that the price list does not have."""
    plain = _plain(hardware)
    for row in types:
        if hardware and plain in (_plain(str(row["name"])), _plain(str(row["id"]))):
            return float(row["priceCentsPerHour"]) / 100
    return None


def _plain(hardware: str) -> str:
    """The vendor's own command line takes names with and without the maker's."""
    return hardware.lower().replace("nvidia-", "")


def _hardware_of(config: Mapping[str, Any]) -> str | None:
    """As the vendor's command line puts it together: `accelerator_count` x `accelerator_type`."""
    selectors = {row["key"]: row["value"] for row in config.get("selectors") or []}
    kind, count = selectors.get("accelerator_type"), selectors.get("accelerator_count")
    return f"{count}x{kind}" if kind and count else None
