"""From a dataset to a submitted job by forms alone, as a browser without scripts sends them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FIXTURES
from tests.serve.dashboard.conftest import HOSTILE, Dashboard, Document
from tuneport.jobs.overview import listed_jobs

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"


def uploaded(dashboard: Dashboard, content: bytes, name: str = "train.jsonl", to: str = "/new", **fields: str) -> Any:
    given = {"csrf_token": dashboard.token("/new")} | fields
    return dashboard.client.post(to, data=given, files={"file": (name, content)})


def finished(dashboard: Dashboard, path: str) -> Document:
    """The page once nothing on it is being worked out any more."""
    deadline = time.monotonic() + 60
    while True:
        page = dashboard.get(path)
        if not any(given.get("data-live") for _, given in page.tags):
            return page
        assert "The button comes with" in page.text and time.monotonic() < deadline


def test_report_and_costs_come_before_the_button(dashboard: Dashboard) -> None:
    answer = uploaded(dashboard, TRAIN.read_bytes(), name="../../etc/My data.jsonl")
    assert answer.status_code == 303
    path = answer.headers["location"]
    page = finished(dashboard, f"{path}?model=smollm2-135m-instruct")
    assert "My data.jsonl" in page.text and "etc" not in page.text
    assert re.search(r"records\s*240", page.text) and "0 fail" in page.text and "contradictions" in page.text
    chosen = [given["value"] for tag, given in page.tags if given.get("name") == "choice" and "checked" in given]
    assert chosen == ["local/smollm2-135m-instruct"]
    held_out = uploaded(dashboard, TRAIN.read_bytes()[:10_000].rpartition(b"\n")[0], to=f"{path}/validation")
    assert held_out.headers["location"].startswith(f"{path}?validation=file-")
    validation = held_out.headers["location"].partition("=")[2]
    wishes = {"suffix": "triage", "n_epochs": "2", "budget": "$2.50", "once": "o" * 32, "validation": validation}
    token = dashboard.token(f"{path}?model=smollm2-135m-instruct")
    first = dashboard.post(path, csrf=token, choice=str(chosen[0]), **wishes)
    again = dashboard.post(path, csrf=token, choice=str(chosen[0]), **wishes)
    assert first.status_code == 303 and first.headers["location"] == again.headers["location"], "a second click"
    request = dashboard.gateway.store.job_request(first.headers["location"].removeprefix("/jobs/"))
    assert request is not None and request.backend == "local" and request.body["budget"] == 2.5
    assert request.body["validation_file"] == validation
    assert request.body["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}
    assert "triage" in dashboard.get(first.headers["location"]).text


def test_a_dataset_with_errors_says_so_and_one_that_is_none(dashboard: Dashboard) -> None:
    good = {"messages": [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}]}
    rows = [json.dumps(good)] * 3 + ['{"messages": [{"role": "user", "content": 5}]}', "{no json"]
    path = uploaded(dashboard, "\n".join(rows).encode(), name=f"{HOSTILE[:20]}.jsonl").headers["location"]
    page = finished(dashboard, path)
    assert str(dashboard.gateway.settings.home) not in page.text, "where it lies here is nobody's business"
    assert "not ready" in page.text and "line 4" in page.text and "Nothing to submit" in page.text
    path = uploaded(dashboard, b"\x00\x01 nothing\n").headers["location"]
    assert "It cannot be read." in finished(dashboard, path).text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"choice": ""}, "No backend was chosen"),
        ({"choice": "local/smollm2-135m-instruct", "budget": "much"}, "US dollars above 0"),
        ({"choice": "local/smollm2-135m-instruct", "n_epochs": "a few"}, "n_epochs"),
        ({"choice": "local//etc/passwd"}, "no backend offers"),
    ],
)
def test_what_cannot_be_submitted_is_refused(dashboard: Dashboard, fields: dict[str, str], told: str) -> None:
    path = uploaded(dashboard, TRAIN.read_bytes()).headers["location"]
    answer = dashboard.post(path, csrf=dashboard.token("/new"), **fields)
    assert answer.status_code == 400 and told in Document(answer.text).text
    assert listed_jobs(dashboard.gateway.store, limit=1) == ([], False)


def test_uploads_that_are_none_of_ours_leave_nothing(dashboard: Dashboard) -> None:
    assert uploaded(dashboard, b"{}\n", csrf_token="0" * 64).status_code == 403
    assert uploaded(dashboard, b"{}\n", name="data.csv").status_code == 400
    assert uploaded(dashboard, b"").status_code == 400
    contents: Path = dashboard.gateway.contents.folder
    assert [path for path in contents.rglob("*") if path.is_file() and path.name != "lock"] == []
    dashboard.get("/new/file-nowhere", status=404)
