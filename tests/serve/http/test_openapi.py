"""The gateway's own OpenAPI document, held against the one that OpenAI publishes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
pytest.importorskip("jsonschema", reason="needs jsonschema and PyYAML")
pytest.importorskip("yaml", reason="needs jsonschema and PyYAML")

from tests.support.conformance import published
from tests.support.openapi_diff import Comparison, Difference
from tuneport.serve import Gateway, create_app
from tuneport.settings import Settings


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = Settings.load().model_copy(update={"home": tmp_path_factory.mktemp("home")})
    with Gateway(settings) as gateway:
        return create_app(gateway).openapi()


def compared(ours: dict[str, Any]) -> Difference:
    theirs = published("openai")
    if theirs is None:
        pytest.skip("the published document is not here (TUNEPORT_SPECS)")
    return Comparison(theirs, ours).run()


def test_nothing_of_openais_is_missing(ours: dict[str, Any]) -> None:
    found = compared(ours)
    assert found.missing == [] and found.compared > 1000


@pytest.mark.parametrize(
    ("remove", "told"),
    [
        (lambda doc: doc["paths"].pop("/v1/uploads/{upload_id}/cancel"), "/uploads/{upload_id}/cancel"),
        (lambda doc: doc["paths"]["/v1/models/{model}"].pop("delete"), "DELETE /models/{model}"),
        (lambda doc: doc["paths"]["/v1/files"]["get"]["parameters"].pop(), "GET /files query parameter after"),
        (lambda doc: schema(doc, "UserMessage")["properties"].pop("name"), "<role=user>.name"),
        (lambda doc: schema(doc, "ImageURL")["properties"].pop("detail"), "<type=image_url>.image_url.detail"),
        (lambda doc: schema(doc, "FineTuningJob")["properties"].pop("metadata"), "200.metadata"),
        (lambda doc: schema(doc, "Grammar")["properties"].pop("syntax"), "<type=grammar>.grammar.syntax"),
        (lambda doc: schema(doc, "TextSimilarity")["properties"]["evaluation_metric"]["enum"].pop(), "= 'rouge_l'"),
    ],
)  # fmt: skip
def test_what_is_taken_away_is_noticed(ours: dict[str, Any], remove: Callable[[Any], Any], told: str) -> None:
    less = copy.deepcopy(ours)
    remove(less)
    assert any(told in line for line in compared(less).missing)


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_every_answer_is_declared(ours: dict[str, Any]) -> None:
    for path, operations in ours["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], f"{method} {path}: the gateway says 400"
            for status, answer in operation["responses"].items():
                assert "x-request-id" in answer["headers"]
                if status != "200" and path.startswith("/v1"):
                    reference = answer["content"]["application/json"]["schema"]["$ref"]
                    assert reference == "#/components/schemas/ErrorResponse", f"{method} {path} {status}"
