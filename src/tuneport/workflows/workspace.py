"""The verbs on one home, as an object: `with tuneport.Workspace() as workspace:`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from tuneport.backends.base import FineTuneBackend
from tuneport.data.clean import clean
from tuneport.data.conversion.convert import convert
from tuneport.data.split import split
from tuneport.lifecycle.handle import Prompt, job_prompt_messages
from tuneport.lifecycle.open_service import OpenJobService
from tuneport.lifecycle.verbs import deploy, job, jobs, propose, submit
from tuneport.settings import Settings
from tuneport.types import Completion
from tuneport.workflows.advise import advise
from tuneport.workflows.check import check
from tuneport.workflows.compare import compare
from tuneport.workflows.doctor import doctor
from tuneport.workflows.evaluate import evaluate
from tuneport.workflows.migrate import migrate
from tuneport.workflows.models import models
from tuneport.workflows.plan import plan
from tuneport.workflows.preview import preview

F = TypeVar("F", bound=Callable[..., Any])


class WorkspaceLike(Protocol):
    """The home that a verb is called on."""

    opened: OpenJobService

    @property
    def settings(self) -> Settings: ...


class WorkspaceVerb(Generic[F]):
    """A function as a method: it is called with the open workspace, or with its settings, if it takes them."""

    def __init__(self, function: F) -> None:
        self.function = function
        takes = inspect.signature(function).parameters
        self._given = next((name for name in ("opened", "settings") if name in takes), None)

    def __get__(self, workspace: WorkspaceLike | None, owner: type) -> F:
        if workspace is None or self._given is None:
            return self.function
        given = {self._given: workspace.opened if self._given == "opened" else workspace.settings}
        bound: Any = functools.update_wrapper(functools.partial(self.function, **given), self.function)
        return bound  # type: ignore[no-any-return]


class Workspace:
    """One home: its settings, its jobs, and the backends that were opened for it. Close it, or use it with `with`.

    Its methods are the functions of the package, on this home. Jobs that it gives are of no use once it is closed,
    beyond what they know already.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.opened = OpenJobService(settings)

    def __repr__(self) -> str:
        return f"Workspace({str(self.settings.home)!r}{', closed' if self.opened.closed else ''})"

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its database connections and inference processes. Jobs continue. Does nothing if it is closed."""
        self.opened.close()

    @property
    def settings(self) -> Settings:
        return self.opened.settings

    # --- jobs -------------------------------------------------------------------------------------------------------

    submit = WorkspaceVerb(submit)
    propose = WorkspaceVerb(propose)
    job = WorkspaceVerb(job)
    jobs = WorkspaceVerb(jobs)
    deploy = WorkspaceVerb(deploy)

    # --- data, costs and results ------------------------------------------------------------------------------------

    advise = WorkspaceVerb(advise)
    check = WorkspaceVerb(check)
    clean = WorkspaceVerb(clean)
    compare = WorkspaceVerb(compare)
    convert = WorkspaceVerb(convert)
    doctor = WorkspaceVerb(doctor)
    evaluate = WorkspaceVerb(evaluate)
    migrate = WorkspaceVerb(migrate)
    models = WorkspaceVerb(models)
    plan = WorkspaceVerb(plan)
    preview = WorkspaceVerb(preview)
    split = WorkspaceVerb(split)

    # --- models -----------------------------------------------------------------------------------------------------

    def backend(self, name: str) -> FineTuneBackend:
        """Return the backend, which is open as long as the workspace is."""
        return self.opened.service.backend(name)

    def complete(self, model: str, prompt: Prompt, *, backend: str | None = None, **options: Any) -> Completion:
        """Ask a job's tuned model, or any model of a backend; see `Job.complete`."""
        return self.opened.service.complete(model, job_prompt_messages(prompt), backend=backend, **options)

    def stream(self, model: str, prompt: Prompt, *, backend: str | None = None, **options: Any) -> Iterator[str]:
        """Ask as `complete` does, and yield the pieces of the answer's text as they are written."""
        return self.opened.service.stream(model, job_prompt_messages(prompt), backend=backend, **options)
