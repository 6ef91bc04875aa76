"""What OpenAI's published document has and the gateway's own has not: paths, methods, parameters, properties, values.

`python -m tests.support.openapi_diff` prints the figure. Each schema is walked with its references and all members of
its `allOf`, `anyOf` and `oneOf`, down to the last property; a property that is there under a union's other member
counts as there. A value is missing where an enumeration does not take it; a plain text takes all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PATHS = (
    "/files",
    "/files/{file_id}",
    "/files/{file_id}/content",
    "/uploads",
    "/uploads/{upload_id}/parts",
    "/uploads/{upload_id}/complete",
    "/uploads/{upload_id}/cancel",
    "/fine_tuning/jobs",
    "/fine_tuning/jobs/{fine_tuning_job_id}",
    "/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
    "/fine_tuning/jobs/{fine_tuning_job_id}/pause",
    "/fine_tuning/jobs/{fine_tuning_job_id}/resume",
    "/fine_tuning/jobs/{fine_tuning_job_id}/events",
    "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
    "/models",
    "/models/{model}",
    "/chat/completions",
)
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass
class Difference:
    compared: int = 0
    missing: list[str] = field(default_factory=list)

    def note(self, there: bool, what: str) -> bool:
        self.compared += 1
        if not there:
            self.missing.append(what)
        return there

    def __str__(self) -> str:
        share = 100.0 * (self.compared - len(self.missing)) / max(1, self.compared)
        return f"{share:.1f} % of {self.compared} paths, parameters, properties and values; {len(self.missing)} issues"


class Comparison:
    def __init__(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        self.theirs, self.ours = theirs, ours
        self.found = Difference()

    def run(self) -> Difference:
        for path in PATHS:
            operations = _by_shape(self.ours["paths"]).get(_shape("/v1" + path))
            if not self.found.note(operations is not None, path):
                continue
            assert operations is not None
            for method, operation in self.theirs["paths"][path].items():
                if method in METHODS and self.found.note(method in operations, f"{method.upper()} {path}"):
                    self._operation(f"{method.upper()} {path}", operation, operations[method])
        return self.found

    def _operation(self, place: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        mine = {
            (row["in"], _plain(row["name"])): row
            for row in (_resolved(self.ours, row) for row in ours.get("parameters", ()))
        }
        for row in (_resolved(self.theirs, row) for row in theirs.get("parameters", ())):
            key = (row["in"], _plain(row["name"]))
            if self.found.note(key in mine, f"{place} {row['in']} parameter {row['name']}"):
                self._schema(f"{place} ?{row['name']}", row["schema"], mine[key]["schema"])
        self._contents(f"{place} request", theirs.get("requestBody", {}), ours.get("requestBody", {}))
        for status, answer in theirs["responses"].items():
            if self.found.note(status in ours["responses"], f"{place} {status}"):
                self._contents(
                    f"{place} {status}", _resolved(self.theirs, answer), _resolved(self.ours, ours["responses"][status])
                )

    def _contents(self, place: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        for kind, content in theirs.get("content", {}).items():
            mine = ours.get("content", {})
            if place.startswith("GET /files/{file_id}/content"):
                continue  # a file's bytes, which their document calls JSON
            if self.found.note(kind in mine, f"{place} {kind}"):
                # Of a stream ours says, as OpenAPI does since 3.2, what an event is, and theirs what its data are.
                self._schema(
                    place, content["schema"], mine[kind].get("schema") or mine[kind]["itemSchema"]["properties"]["data"]
                )

    def _schema(self, place: str, theirs: Any, ours: Any, seen: frozenset[tuple[int, ...]] = frozenset()) -> None:
        their_members, our_members = list(_members(self.theirs, theirs)), list(_members(self.ours, ours))
        key = (*(id(member) for member in their_members), 0, *(id(member) for member in our_members))
        if key in seen:
            return
        seen = seen | {key}
        self._values(place, their_members, our_members)
        for tag, group in _grouped(self.theirs, their_members).items():
            # Of a union by a tag, only what has that tag on our side is looked at.
            mine = _grouped(self.ours, our_members).get(tag, our_members) if tag else our_members
            where = place if tag is None else f"{place}<{tag}>"
            properties = _properties(mine)
            for name, schemas in _properties(group).items():
                if self.found.note(name in properties, f"{where}.{name}"):
                    self._schema(f"{where}.{name}", {"anyOf": schemas}, {"anyOf": properties[name]}, seen)
        items = [member["items"] for member in their_members if "items" in member]
        if items:
            own = [member["items"] for member in our_members if "items" in member]
            if self.found.note(bool(own), f"{place}[]"):
                self._schema(f"{place}[]", {"anyOf": items}, {"anyOf": own}, seen)
        values = [m["additionalProperties"] for m in their_members if isinstance(m.get("additionalProperties"), dict)]
        if values:
            own = [m["additionalProperties"] for m in our_members if isinstance(m.get("additionalProperties"), dict)]
            if self.found.note(bool(own), f"{place}{{}}"):
                self._schema(f"{place}{{}}", {"anyOf": values}, {"anyOf": own}, seen)

    def _values(self, place: str, theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
        wanted = [value for member in theirs for value in _listed(member)]
        taken = [value for member in ours for value in _listed(member)]
        free = any(member.get("type") == "string" and not _listed(member) for member in ours)
        for value in dict.fromkeys(wanted):
            self.found.note(free or value in taken, f"{place} = {value!r}")


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def _members(document: dict[str, Any], node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All plain schemas that a node is made of."""
    node = _resolved(document, node)
    yield node
    for word in ("allOf", "anyOf", "oneOf"):
        for member in node.get(word, ()):
            yield from _members(document, member)
    if "contentSchema" in node:
        yield from _members(document, node["contentSchema"])


def _properties(members: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for member in members:
        for name, schema in member.get("properties", {}).items():
            found.setdefault(name, []).append(schema)
    return found


def _grouped(document: dict[str, Any], members: list[dict[str, Any]]) -> dict[str | None, list[dict[str, Any]]]:
    """Objects by the one value that their `role` or `type` may have; None: all that has no such tag."""
    groups: dict[str | None, list[dict[str, Any]]] = {}
    for member in members:
        tag = None
        for name in ("role", "type"):
            if tag is None and name in member.get("properties", {}):
                values = [v for m in _members(document, member["properties"][name]) for v in _listed(m)]
                tag = f"{name}={values[0]}" if len(values) == 1 else None
        groups.setdefault(tag, []).append(member)
    return groups


def _listed(member: dict[str, Any]) -> list[Any]:
    return [member["const"]] if "const" in member else [value for value in member.get("enum", ()) if value is not None]


def _plain(name: str) -> str:
    return name.partition("[")[0]


def _shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def _by_shape(paths: dict[str, Any]) -> dict[str, Any]:
    return {_shape(path): operations for path, operations in paths.items()}


def main() -> int:
    import tempfile
    from pathlib import Path

    from tests.support.conformance import published
    from tuneport.serve import Gateway, create_app
    from tuneport.settings import Settings

    theirs = published("openai")
    if theirs is None:
        print("the published document is not here (TUNEPORT_SPECS)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load()
        with Gateway(settings.model_copy(update={"home": Path(folder)})) as gateway:
            found = Comparison(theirs, create_app(gateway).openapi()).run()
    print(found)
    for line in found.missing:
        print(f"  missing: {line}")
    return 1 if found.missing else 0


if __name__ == "__main__":
    sys.exit(main())
