"""Which tuned models are out of a project's reach, by whatever name it asks for them: at the provider's, all projects'
models lie in one account."""

from __future__ import annotations

from tuneport.jobs.asking import DEFAULT_PROJECT, asking
from tuneport.serve.gateway import Gateway

CHECKPOINT = ":ckpt-step-"


def is_kept_from(gateway: Gateway, name: str) -> bool:
    """Whether a model that was tuned is none of the asker's: another project's, under whichever of its names, or one
    that was tuned outside, which only the default project may use."""
    project = asking().project
    if project is None:
        return False
    plain = name.partition(CHECKPOINT)[0]
    names = {name, plain, name.partition("/")[2], plain.partition("/")[2]} - {""}
    if projects := gateway.store.projects_of_models(names):
        return project not in projects
    return any(known.startswith("ft:") for known in names) and project != DEFAULT_PROJECT
