"""From a dataset to a submitted job by forms alone, as a browser without scripts sends them."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.serve.dashboard.conftest import HOSTILE, Dashboard, Document
from tests.support.document import hostile_holes
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.support.waiting import until
from tuneport.lifecycle.proposing.terms import list_job_terms
from tuneport.serve import Gateway
from tuneport.serve.dashboard import new_job
from tuneport.serve.task_cache import MOST_UNDER_WAY
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"


def uploaded(dashboard: Dashboard, content: bytes, name: str = "train.jsonl", to: str = "/new", **fields: str) -> Any:
    given = {"csrf_token": dashboard.token("/new")} | fields
    return dashboard.client.post(to, data=given, files={"file": (name, content)})


def finished(dashboard: Dashboard, path: str) -> Document:
    """The page once nothing on it is being worked out any more."""

    def look() -> Document | None:
        page = dashboard.get(path)
        if not any(given.get("data-live") for _, given in page.tags):
            return page
        assert "The button comes with" in page.text
        return None

    page: Document = until(look)
    return page


def test_report_and_costs_come_before_the_button(dashboard: Dashboard) -> None:
    answer = uploaded(dashboard, TRAIN.read_bytes(), name="../../etc/My data.jsonl")
    assert answer.status_code == 303
    path = answer.headers["location"]
    page = finished(dashboard, f"{path}?model=smollm2-135m-instruct")
    assert "My data.jsonl" in page.text and "etc" not in page.text
    assert re.search(r"records\s*240", page.text) and "0 fail" in page.text and "contradictions" in page.text
    chosen = [given["value"] for tag, given in page.tags if given.get("name") == "choice" and "checked" in given]
    assert chosen == ["local/smollm2-135m-instruct"]
    with hostile_holes():
        changed = Document(dashboard.client.get(f"{path}?model=smollm2-135m-instruct").text)
    assert [(tag, list(given)) for tag, given in changed.tags] == [(tag, list(given)) for tag, given in page.tags]
    held_out = uploaded(dashboard, TRAIN.read_bytes()[:10_000].rpartition(b"\n")[0], to=f"{path}/validation")
    assert held_out.headers["location"].startswith(f"{path}?validation=file-")
    validation = held_out.headers["location"].partition("=")[2]
    wishes = {"suffix": "triage", "n_epochs": "2", "budget": "$2.50", "once": "o" * 32, "validation": validation}
    token = dashboard.token(f"{path}?model=smollm2-135m-instruct")
    first = dashboard.post(path, csrf=token, choice=str(chosen[0]), **wishes)
    again = dashboard.post(path, csrf=token, choice=str(chosen[0]), **wishes)
    assert first.status_code == 303 and first.headers["location"] == again.headers["location"], "a second click"
    request = dashboard.gateway.unscoped.store.requests.get(first.headers["location"].removeprefix("/jobs/"))
    assert request is not None and request.backend == "local" and request.body["tuneport"]["budget"] == 2.5
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
    assert dashboard.gateway.unscoped.store.listing.page(limit=1) == ([], False)


def test_uploads_that_are_none_of_ours_leave_nothing(dashboard: Dashboard) -> None:
    assert uploaded(dashboard, b"{}\n", csrf_token="0" * 64).status_code == 403
    assert uploaded(dashboard, b"{}\n", name="data.csv").status_code == 400
    assert uploaded(dashboard, b"").status_code == 400
    contents: Path = dashboard.gateway.contents.folder
    assert [path for path in contents.rglob("*") if path.is_file() and path.name != "lock"] == []
    dashboard.get("/new/file-nowhere", status=404)


def test_whoever_reads_pages_cannot_make_threads_without_end(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number of requests is another study, which waits for its turn in a thread."""
    go, calls = threading.Event(), []

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(options["traffic"])
        go.wait(60)
        return compare(*arguments, **options)

    compare = new_job.compare
    monkeypatch.setattr(new_job, "compare", slow)
    monkeypatch.setattr(new_job, "WAIT_SECONDS", 0.01)
    path = uploaded(dashboard, TRAIN.read_bytes()).headers["location"]
    before = threading.active_count()
    try:
        answers = [dashboard.client.get(f"{path}?requests={number}") for number in range(1, 3 * MOST_UNDER_WAY)]
        assert threading.active_count() - before <= MOST_UNDER_WAY + 4
        assert {answer.status_code for answer in answers} == {200, 429} and len(calls) <= 2
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= len(answers) - MOST_UNDER_WAY
        assert "try again" in refused[0].text
        assert dashboard.client.get(f"{path}?requests=1").status_code == 200, "which is under way already"
    finally:
        go.set()
    until(lambda: dashboard.client.get(f"{path}?requests=100000").status_code == 200)


def test_the_price_on_the_page_is_what_is_agreed_to(lead_to: LeadTo) -> None:
    lead_to(OpenAIEmulator(pace=600))
    choice = "openai/gpt-4.1-mini-2025-04-14"
    with Gateway(Settings.load()) as gateway:
        dashboard = Dashboard(gateway)
        path = uploaded(dashboard, TRAIN.read_bytes()).headers["location"]
        page = finished(dashboard, f"{path}?model=gpt-4.1-mini")
        assert "the rows go to OpenAI, a third party" in page.text and re.search(r"\d epochs", page.text)
        terms = list_job_terms("openai", "gpt-4.1-mini-2025-04-14")
        assert terms and all(str(term) in page.text for term in terms)
        hidden = {str(given.get("name")): str(given.get("value")) for tag, given in page.tags if tag == "input"}
        price = hidden[f"agreed:{choice}"]
        wishes = {"choice": choice, "method": "sft", "csrf": dashboard.token(f"{path}?model=gpt-4.1-mini")}

        def answer(agreed: str, **more: str) -> Any:
            return dashboard.post(path, **wishes | {f"agreed:{choice}": agreed} | more)

        for refused in (answer(price, n_epochs="9"), answer(str(float(price) / 2))):
            assert refused.status_code == 409 and "and the page said $0." in Document(refused.text).text
        assert answer("nan").status_code == 400
        assert gateway.unscoped.store.listing.page(limit=1) == ([], False)
        for more, budget in (({}, float(price)), ({"budget": "0.01"}, 0.01), ({"budget": "50"}, float(price))):
            taken = answer(price, **more)
            assert taken.status_code == 303, taken.text
            request = gateway.unscoped.store.requests.get(taken.headers["location"].removeprefix("/jobs/"))
            assert request is not None and request.body["tuneport"]["budget"] == budget
