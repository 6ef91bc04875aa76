"""Portable fine-tuning: one dataset, one call, any backend.

    import tuneport

    advice = tuneport.advise("train.jsonl", need="style", prompt="fails", few_shot="partly")
    report = tuneport.check("train.jsonl")  # a path, a list of dicts, a pandas DataFrame or a datasets.Dataset
    table = tuneport.compare("train.jsonl")
    with tuneport.Workspace() as workspace:
        job = workspace.submit("train.jsonl", model="llama-3.1-8b-instruct")  # TUNEPORT_BACKEND, or backend=
        job.wait()
        job.complete("Where is my parcel?")
        workspace.evaluate("test.jsonl", ["base", job])

The functions of the same names use a workspace that they share and that closes itself. `tuneport.aio` has all of it as
coroutines. Each name is imported on first use, so that `import tuneport` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tuneport.version import __version__ as __version__

if TYPE_CHECKING:  # the same names as in the table below, which a test compares
    from tuneport import aio as aio
    from tuneport.backends import open_backend as open_backend
    from tuneport.backends.base import FineTuneBackend as FineTuneBackend
    from tuneport.data.clean import clean as clean
    from tuneport.data.containers.limits import allow_large as allow_large
    from tuneport.data.conversion.convert import convert as convert
    from tuneport.data.dataset import Dataset as Dataset
    from tuneport.data.split import split as split
    from tuneport.errors import AuthError as AuthError
    from tuneport.errors import BudgetError as BudgetError
    from tuneport.errors import CheckFailedError as CheckFailedError
    from tuneport.errors import ConfigError as ConfigError
    from tuneport.errors import ConsentError as ConsentError
    from tuneport.errors import ConversionLossError as ConversionLossError
    from tuneport.errors import DatasetError as DatasetError
    from tuneport.errors import ModelNotOfferedError as ModelNotOfferedError
    from tuneport.errors import NoBackendChosenError as NoBackendChosenError
    from tuneport.errors import NotDeployedError as NotDeployedError
    from tuneport.errors import NotFoundError as NotFoundError
    from tuneport.errors import ProviderError as ProviderError
    from tuneport.errors import QuotaError as QuotaError
    from tuneport.errors import RateLimitError as RateLimitError
    from tuneport.errors import RejectedError as RejectedError
    from tuneport.errors import StorageError as StorageError
    from tuneport.errors import TrainingError as TrainingError
    from tuneport.errors import TuneportError as TuneportError
    from tuneport.errors import UnavailableError as UnavailableError
    from tuneport.errors import UnresolvedStartError as UnresolvedStartError
    from tuneport.errors import UnsupportedError as UnsupportedError
    from tuneport.lifecycle.handle import Job as Job
    from tuneport.lifecycle.handle import JobFailedError as JobFailedError
    from tuneport.lifecycle.handle import JobUpdate as JobUpdate
    from tuneport.lifecycle.proposing.proposal import JobProposal as JobProposal
    from tuneport.lifecycle.store.store import UnknownJobError as UnknownJobError
    from tuneport.lifecycle.submitting.options import JobOptions as JobOptions
    from tuneport.lifecycle.verbs import deploy as deploy
    from tuneport.lifecycle.verbs import job as job
    from tuneport.lifecycle.verbs import jobs as jobs
    from tuneport.lifecycle.verbs import propose as propose
    from tuneport.lifecycle.verbs import submit as submit
    from tuneport.settings import Settings as Settings
    from tuneport.types import Hyperparameters as Hyperparameters
    from tuneport.types import TuneSpec as TuneSpec
    from tuneport.workflows.advise import advise as advise
    from tuneport.workflows.check import check as check
    from tuneport.workflows.compare import compare as compare
    from tuneport.workflows.doctor import doctor as doctor
    from tuneport.workflows.evaluate import evaluate as evaluate
    from tuneport.workflows.migrate import migrate as migrate
    from tuneport.workflows.models import models as models
    from tuneport.workflows.plan import plan as plan
    from tuneport.workflows.preview import preview as preview
    from tuneport.workflows.workspace import Workspace as Workspace

_EXPORTS = {
    "backends": "open_backend",
    "backends.base": "FineTuneBackend",
    "data.clean": "clean",
    "data.containers.limits": "allow_large",
    "data.conversion.convert": "convert",
    "data.dataset": "Dataset",
    "data.split": "split",
    "errors": "AuthError BudgetError CheckFailedError ConfigError ConsentError ConversionLossError DatasetError "
    "ModelNotOfferedError NoBackendChosenError NotDeployedError NotFoundError ProviderError QuotaError RateLimitError "
    "RejectedError StorageError TrainingError TuneportError UnavailableError UnresolvedStartError UnsupportedError",
    "lifecycle.handle": "Job JobFailedError JobUpdate",
    "lifecycle.store.store": "UnknownJobError",
    "lifecycle.submitting.options": "JobOptions",
    "lifecycle.proposing.proposal": "JobProposal",
    "lifecycle.verbs": "deploy job jobs propose submit",
    "settings": "Settings",
    "types": "Hyperparameters TuneSpec",
    "workflows.advise": "advise",
    "workflows.check": "check",
    "workflows.compare": "compare",
    "workflows.doctor": "doctor",
    "workflows.evaluate": "evaluate",
    "workflows.migrate": "migrate",
    "workflows.models": "models",
    "workflows.plan": "plan",
    "workflows.preview": "preview",
    "workflows.workspace": "Workspace",
}
"""The public names, by the module that each is in."""

_HOMES = {name: f"tuneport.{module}" for module, names in _EXPORTS.items() for name in names.split()}

__all__ = sorted([*_HOMES, "__version__", "aio"])  # noqa: PLE0605 - a list, made of the table


def __getattr__(name: str) -> Any:
    if name == "aio":
        return importlib.import_module("tuneport.aio")
    if name not in _HOMES:
        raise AttributeError(f"module 'tuneport' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
