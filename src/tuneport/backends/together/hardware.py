"""The hardware that can serve a model at Together, and its present hourly price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.errors import UnsupportedError
from tuneport.formatting import money


@dataclass(frozen=True)
class EndpointHardware:
    """The deployment to make: resource names of the weights and of a configuration, and the instance type that it runs
    on."""

    model: str
    config: str
    hardware: str
    usd_per_hour: float | None


def list_together_instance_types(client: Any) -> list[dict[str, Any]]:
    return [each.to_dict(mode="json", warnings=False) for each in client.endpoints.hardware.list().data]


def choose_together_hardware(
    provider: str,
    name: str,
    model: str,
    configs: Sequence[Mapping[str, Any]],
    types: Sequence[Mapping[str, Any]],
    hardware: str | None,
) -> EndpointHardware:
    """Return the cheapest configuration whose hardware has `hardware` in its name, if given.

    Raises UnsupportedError that lists what there is, if the model cannot be hosted, or not on that hardware.
    """
    choices = [
        EndpointHardware(
            model,
            f"projects/{config['projectId']}/configs/{config['id']}",
            name_,
            find_together_endpoint_price(name_, types),
        )
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
        prices = ("" if each.usd_per_hour is None else f" ({money(each.usd_per_hour)}/h)" for each in choices)
        offered = ", ".join(f"{each.hardware}{price}" for each, price in zip(choices, prices, strict=True))
        raise UnsupportedError(f"{provider} hosts {name} on {offered}, not on {hardware}; name one of these")
    return fitting[0]


def find_together_endpoint_price(hardware: str, types: Sequence[Mapping[str, Any]]) -> float | None:
    """Return US dollars an hour for one replica, or None for hardware that is not in the price list."""
    plain = _plain(hardware)
    for row in types:
        if hardware and plain in (_plain(str(row["name"])), _plain(str(row["id"]))):
            return float(row["priceCentsPerHour"]) / 100
    return None


def _plain(hardware: str) -> str:
    """Return the name without its maker. The vendor's own command line takes names with it and without."""
    return hardware.lower().replace("nvidia-", "")


def _hardware_of(config: Mapping[str, Any]) -> str | None:
    """Return the hardware's name as the vendor's command line builds it: `accelerator_count` x `accelerator_type`."""
    selectors = {row["key"]: row["value"] for row in config.get("selectors") or []}
    kind, count = selectors.get("accelerator_type"), selectors.get("accelerator_count")
    return f"{count}x{kind}" if kind and count else None
