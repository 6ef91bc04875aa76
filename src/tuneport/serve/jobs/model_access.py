"""The rule which tuned models a project may use, under any name: at the provider, the models of all projects lie in
one account."""

from __future__ import annotations

from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT
from tuneport.serve.gateway import Gateway

CHECKPOINT = ":ckpt-step-"


def is_hidden_from_caller(gateway: Gateway, name: str) -> bool:
    """Return whether a tuned model is hidden from the caller: it belongs to another project, or was tuned outside,
    which only the default project may use."""
    project = gateway.project
    plain = name.partition(CHECKPOINT)[0]
    names = {name, plain, name.partition("/")[2], plain.partition("/")[2]} - {""}
    if projects := gateway.store.models.find_projects(names):
        return project not in projects
    return any(known.startswith("ft:") for known in names) and project != DEFAULT_PROJECT
