"""Prints all that users of tuneport can name, one a line: `PYTHONPATH=src python tests/support/surface.py`.

Commands, their arguments and options; endpoints, their parameters and the keys of their documents; exported names with
their parameters and members; keys of manifests and settings. It imports nothing of the tests and runs with the source
of earlier commits, too, so that two lists can be compared (`tests/test_surface.py`).
"""

from __future__ import annotations

import importlib
import inspect
import os
import tempfile
from collections.abc import Iterator
from typing import Any


def command_lines(command: Any, path: str) -> Iterator[str]:
    """Yield each command below one, with its arguments and options."""
    for param in command.params:
        if param.param_type_name == "argument":
            yield f"argument {path} {(param.metavar or param.name).upper()}"
        else:
            yield from (f"option {path} {name}" for name in (*param.opts, *param.secondary_opts))
    for name in getattr(command, "list_commands", lambda context: ())(None):
        yield f"command {path} {name}"
        yield from command_lines(command.commands[name], f"{path} {name}")


def endpoint_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield each endpoint of an OpenAPI document, its parameters, and the keys of its schemas."""
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            yield f"endpoint {method.upper()} {path}"
            for param in about.get("parameters", ()):
                yield f"parameter {method.upper()} {path} {param['in']} {param['name']}"
    for name, schema in document["components"]["schemas"].items():
        yield from (f"schema {name} {key}" for key in schema.get("properties", ()))


def export_lines(module: Any) -> Iterator[str]:
    """Yield each exported name, with the parameters of functions and the members of classes."""
    for name in module.__all__:
        exported = getattr(module, name)
        yield f"export {name}"
        if isinstance(exported, type):
            yield from (f"member {name}.{member}" for member in vars(exported) if not member.startswith("_"))
        elif callable(exported):
            yield from (f"keyword {name} {parameter}" for parameter in inspect.signature(exported).parameters)


def key_lines(kind: str, schema: dict[str, Any]) -> Iterator[str]:
    """Yield the path of each key of a JSON schema: one for all items of a list and all names of a table."""
    definitions, seen = schema.get("$defs", {}), set()

    def keys(part: dict[str, Any], path: str, above: tuple[str, ...]) -> Iterator[str]:
        reference = part.get("$ref", "").rpartition("/")[2]
        if reference:
            if reference not in above:
                yield from keys(definitions[reference], path, (*above, reference))
            return
        for name, inner in part.get("properties", {}).items():
            if (line := f"{kind} {path}{name}") not in seen:
                seen.add(line)
                yield line
            yield from keys(inner, f"{path}{name}.", above)
        further = [part.get("items"), part.get("additionalProperties"), *part.get("prefixItems", ())]
        for inner in (*further, *part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())):
            if isinstance(inner, dict):
                yield from keys(inner, path, above)

    yield from keys(schema, "", ())


def surface_lines() -> list[str]:
    """Return all lines, sorted."""
    import typer

    import tuneport
    from tuneport.cli.main import app
    from tuneport.serve.app import create_app
    from tuneport.serve.gateway import Gateway

    manifests = importlib.import_module("tuneport.manifests.schema")
    settings = importlib.import_module("tuneport.settings")
    gateway = Gateway(settings.Settings.load())
    found = {
        *command_lines(typer.main.get_command(app), "tuneport"),
        *endpoint_lines(create_app(gateway).openapi()),
        *export_lines(tuneport),
        *key_lines("manifest", manifests.Manifest.model_json_schema()),
        *key_lines("setting", settings.Settings.model_json_schema()),
    }
    return sorted(found)


if __name__ == "__main__":
    os.environ["TUNEPORT_HOME"] = tempfile.mkdtemp()
    print("\n".join(surface_lines()))
