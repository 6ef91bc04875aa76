"""Portable fine-tuning: one dataset, one call, any backend.

    import tuneport

    advice = tuneport.advise("train.jsonl", needs=["style"], prompt="fails", few_shot="partly")
    report = tuneport.check("train.jsonl")
    table = tuneport.compare("train.jsonl")
    job = tuneport.submit("train.jsonl", model="llama-3.1-8b-instruct")  # TUNEPORT_BACKEND, or backend=, says where
    job.wait()
    job.complete("Where is my parcel?")

Each name is imported on first use, so that `import tuneport` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tuneport.backends import open_backend
    from tuneport.backends.base import FineTuneBackend
    from tuneport.data.clean import clean
    from tuneport.data.convert import convert
    from tuneport.data.split import split
    from tuneport.errors import TuneportError
    from tuneport.jobs.handle import Job, job, jobs, submit
    from tuneport.settings import Settings
    from tuneport.types import Hyperparameters, TuneSpec
    from tuneport.workflows.advise import advise
    from tuneport.workflows.check import check
    from tuneport.workflows.compare import compare
    from tuneport.workflows.migrate import migrate
    from tuneport.workflows.plan import plan
    from tuneport.workflows.preview import preview

_HOMES = {
    "FineTuneBackend": "tuneport.backends.base",
    "Hyperparameters": "tuneport.types",
    "Job": "tuneport.jobs.handle",
    "Settings": "tuneport.settings",
    "TuneSpec": "tuneport.types",
    "TuneportError": "tuneport.errors",
    "advise": "tuneport.workflows.advise",
    "check": "tuneport.workflows.check",
    "clean": "tuneport.data.clean",
    "compare": "tuneport.workflows.compare",
    "convert": "tuneport.data.convert",
    "job": "tuneport.jobs.handle",
    "jobs": "tuneport.jobs.handle",
    "migrate": "tuneport.workflows.migrate",
    "open_backend": "tuneport.backends",
    "plan": "tuneport.workflows.plan",
    "preview": "tuneport.workflows.preview",
    "split": "tuneport.data.split",
    "submit": "tuneport.jobs.handle",
}

__all__ = [
    "FineTuneBackend",
    "Hyperparameters",
    "Job",
    "Settings",
    "TuneSpec",
    "TuneportError",
    "__version__",
    "advise",
    "check",
    "clean",
    "compare",
    "convert",
    "job",
    "jobs",
    "migrate",
    "open_backend",
    "plan",
    "preview",
    "split",
    "submit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tuneport' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
