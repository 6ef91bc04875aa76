"""Lists what can be tuned where: price, serving, shut-down, licence, and whether the weights are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from tuneport.backends import backend_manifest, training_backend_manifests
from tuneport.backends.local.presence import find_base_model_presence
from tuneport.backends.routing import missing_backend_setup
from tuneport.base_models import list_base_models_here
from tuneport.errors import UnsupportedError
from tuneport.estimate.cost import endpoint_hourly_price, training_price
from tuneport.formatting import money
from tuneport.manifests import Manifest, OfferedModel, find_manifest_model, load_models
from tuneport.pages.notebook import render_notebook_view
from tuneport.settings import Settings
from tuneport.types import Adapter


@dataclass(frozen=True)
class TunableModel:
    """One model that one backend tunes. `name` is what `--model` takes everywhere, `id` the backend's own.

    Prices are US dollars: of training, by the first of its methods that has one, per million tokens of an epoch or per
    hour (`training_minimum_usd`: of one job); of answers per million tokens, or per hour of an endpoint. `own_machine`:
    it is trained and served on the user's own.
    `here`: its weights are on this machine (None: they are never); else `download_bytes` are fetched for a job.
    """

    name: str
    backend: str
    id: str
    methods: tuple[str, ...]
    own_machine: bool
    params_b: float | None
    context: int | None
    licence: str | None
    training_usd_per_mtok: float | None
    training_usd_per_hour: float | None
    training_minimum_usd: float | None
    answers_usd_per_mtok_input: float | None
    answers_usd_per_mtok_output: float | None
    endpoint_usd_per_hour: float | None
    shuts_down: date | None
    here: bool | None
    download_bytes: int | None


@dataclass(frozen=True)
class TunableModels:
    """`needs`: what a backend is still missing, by its name ("" if it is set up); `no_new_jobs_from` likewise."""

    offers: tuple[TunableModel, ...]
    titles: dict[str, str]
    needs: dict[str, str]
    no_new_jobs_from: dict[str, date]

    def as_dict(self) -> dict[str, Any]:
        dates = {name: day.isoformat() for name, day in self.no_new_jobs_from.items()}
        rows = [asdict(each) | {"shuts_down": each.shuts_down and each.shuts_down.isoformat()} for each in self.offers]
        return {"object": "list", "data": rows, "needs": self.needs, "no_new_jobs_from": dates}

    def _repr_html_(self) -> str:
        rows = [
            (each.name, each.backend, training_words(each), serving_words(each), str(each.shuts_down or "-"))
            for each in self.offers
        ]
        head = ("model", "backend", "training", "answers", "shuts down")
        return render_notebook_view("Models that can be tuned", [("models", f"{len(rows)}")], head=head, rows=rows)


def models(
    *,
    backend: str | Sequence[str] = (),
    local: bool = False,
    settings: Settings | None = None,
    today: date | None = None,
) -> TunableModels:
    """List the models that can be tuned, backend by backend. Needs no key and makes no network call.

    `backend` names one or several; `local` leaves those whose weights are on this machine, also such as `models.toml`
    does not name. Raises ConfigError for an unknown backend and UnsupportedError for one that tunes none.
    """
    settings, today = settings or Settings.load(), today or date.today()
    names = [backend] if isinstance(backend, str) else list(backend)
    manifests = [backend_manifest(name, settings) for name in names] or training_backend_manifests(settings)
    for manifest in manifests:
        if manifest.no_training is not None:
            raise UnsupportedError(manifest.no_training.text)
    offers = [
        _offer(manifest, model, settings)
        for manifest in manifests
        if manifest.extra == "local" or not local
        for model in _offered(manifest, today, settings)
    ]
    return TunableModels(
        tuple(each for each in offers if each.here or not local),
        {each.name: each.title for each in manifests},
        {each.name: missing_backend_setup(each, settings) for each in manifests},
        {each.name: each.no_new_jobs_from for each in manifests if each.no_new_jobs_from is not None},
    )


def training_words(offer: TunableModel) -> str:
    """Return the price of training in few words: "$0.48/M" is a million tokens."""
    if offer.own_machine:
        return "your machine"
    if offer.training_usd_per_mtok is not None:
        return f"{money(offer.training_usd_per_mtok)}/M"
    return "-" if offer.training_usd_per_hour is None else f"{money(offer.training_usd_per_hour)}/hour"


def serving_words(offer: TunableModel) -> str:
    """Return the price of answers in few words: of a million tokens in and out, or of an endpoint's hour."""
    if offer.own_machine:
        return "your machine"
    if offer.answers_usd_per_mtok_input is not None and offer.answers_usd_per_mtok_output is not None:
        return f"{money(offer.answers_usd_per_mtok_input)}/{money(offer.answers_usd_per_mtok_output)}"
    return "-" if offer.endpoint_usd_per_hour is None else f"{money(offer.endpoint_usd_per_hour)}/hour"


def _offered(manifest: Manifest, today: date, settings: Settings) -> list[OfferedModel]:
    """Return the models that can still be tuned there; for open weights, those that are known and those on this
    machine."""
    found = [model for model in manifest.models if model.methods and not model.retired(today)]
    if manifest.extra != "local":
        return found
    known = [name for name, weights in load_models().weights.items() if weights.hub or weights.bundled]
    hubs = {weights.hub for weights in load_models().weights.values()}
    here = [name for name in list_base_models_here(settings.home) if name not in {*hubs, *known}]
    return found + [each for name in [*known, *here] if (each := find_manifest_model(manifest, name)) is not None]


def _offer(manifest: Manifest, model: OfferedModel, settings: Settings) -> TunableModel:
    catalogue = load_models()
    name = catalogue.name_of(manifest.name, model.id) or model.id
    weights = catalogue.find(name)
    prices = [training_price(manifest, model, method, Adapter.LORA) for method in model.methods]
    price = next((each for each in prices if each is not None), None)
    minimum = model.minimum or (manifest.billing.minimum if manifest.billing else None)
    presence = find_base_model_presence(model.id, home=settings.home) if manifest.extra == "local" else None
    return TunableModel(
        name=name,
        backend=manifest.name,
        id=model.id,
        methods=tuple(method.value for method in model.methods),
        own_machine=manifest.own_machine,
        params_b=model.params_b,
        context=model.context,
        licence=None if weights is None else weights.licence,
        training_usd_per_mtok=None if price is None else price.usd_per_mtok,
        training_usd_per_hour=None if price is None else price.usd_per_hour,
        training_minimum_usd=None if minimum is None else minimum.usd,
        answers_usd_per_mtok_input=None if model.inference is None else model.inference.usd_per_mtok_input,
        answers_usd_per_mtok_output=None if model.inference is None else model.inference.usd_per_mtok_output,
        endpoint_usd_per_hour=endpoint_hourly_price(manifest, model),
        shuts_down=model.retires,
        here=None if presence is None else presence.here,
        download_bytes=None if presence is None else presence.download_bytes,
    )
