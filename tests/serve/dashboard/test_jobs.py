"""The list of jobs and a job's page, as HTML."""

from __future__ import annotations

import re

from tests.serve.dashboard.conftest import HOSTILE, Dashboard
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault
from tuneport.types import JobStatus


def ids(html: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="/jobs/([\w-]+)"', html)))


def test_without_jobs_the_page_says_how_they_come(dashboard: Dashboard) -> None:
    assert "No jobs yet." in dashboard.get("/").text
    assert "No matching jobs." in dashboard.get("/?status=failed").text


def test_a_job_from_its_beginning_to_its_end(dashboard: Dashboard) -> None:
    running = dashboard.job(5, suffix="triage")
    page = dashboard.get(f"/jobs/{running}")
    assert "triage" in page.text and "running" in page.text and "4 of 6 steps" in page.text
    assert {"state", "figures", "curves", "events"} <= page.ids
    assert "Step 4/6: loss 0.4802" in page.text
    assert any(tag == "path" and "line" in (given.get("class") or "") for tag, given in page.tags)
    for _ in range(20):
        dashboard.gateway.unscoped.worker.step(running)
    page = dashboard.get(f"/jobs/{running}")
    assert "succeeded" in page.text and "Job done" in page.text and "6 of 6 steps" in page.text
    assert "unavailable, because fake reports no sum" in page.text
    assert not any(given.get("data-live") for _, given in page.tags), "nothing moves any more"
    csv = dashboard.client.get(f"/jobs/{running}/metrics.csv")
    assert csv.text.splitlines()[1].startswith("1,1.4") and csv.headers["content-disposition"].startswith("attachment")


def test_a_failed_job_says_why_and_one_that_waits_for_what(dashboard: Dashboard) -> None:
    fake = dashboard.gateway.unscoped.backend("fake")
    assert isinstance(fake, FakeBackend)
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    page = dashboard.get(f"/jobs/{dashboard.job()}")
    assert "It failed. The machine broke" in page.text
    waiting = dashboard.get(f"/jobs/{dashboard.job(0)}")
    assert "preparing" in waiting.text and "does not have the job yet" in waiting.text and "No events" in waiting.text


def test_what_others_wrote_is_text(dashboard: Dashboard) -> None:
    job = dashboard.job(suffix=HOSTILE, metadata={HOSTILE: HOSTILE})
    for path in ("/", f"/jobs/{job}"):
        assert "<script>alert(1)</script>\" onload='x' \u202e\ufffd &amp;" in dashboard.get(path).text
    missing = dashboard.get("/jobs/%3Cscript%3Ealert(1)", status=404)
    assert "There is no job <script>alert(1)" in missing.text


def test_pages_by_cursor_and_filters(dashboard: Dashboard) -> None:
    made = [dashboard.job(0) for _ in range(27)]
    done = dashboard.job()
    first = dashboard.client.get("/").text
    assert ids(first) == [done, *reversed(made[3:])]
    older = re.search(r'href="(/\?after=[\w-]+)" rel="next"', first)
    assert older is not None
    second = dashboard.client.get(older[1]).text
    assert ids(second) == list(reversed(made[:3])) and 'rel="next"' not in second and 'rel="first"' in second
    assert ids(dashboard.client.get("/?status=succeeded").text) == [done]
    assert ids(dashboard.client.get("/?status=unfinished&backend=openai").text) == []
    newer = dashboard.job(0)  # what comes meanwhile moves no page
    assert ids(dashboard.client.get(older[1]).text) == list(reversed(made[:3]))
    assert ids(dashboard.client.get("/?backend=fake").text)[0] == newer


def test_what_clients_asked_for_is_listed_before_it_is_a_job(dashboard: Dashboard) -> None:
    store = dashboard.gateway.unscoped.store
    body = {"model": "m", "training_file": "file-1", "training_sha256": "0" * 64}
    waiting = store.requests.add("ftjob-1", body, backend="fake", tuned_model="ft:m:t::1", key=None).id
    other = store.requests.add("ftjob-2", body, backend="fake", tuned_model="ft:m:t::2", key=None).id
    assert ids(dashboard.client.get("/").text) == [other, waiting]
    page = dashboard.get(f"/jobs/{waiting}")
    assert "preparing" in page.text and "reads and checks the data" in page.text
    token = dashboard.token(f"/jobs/{waiting}")
    assert dashboard.post(f"/jobs/{waiting}/cancel", csrf=token).status_code == 303
    assert store.listing.page(limit=5)[0][1].status is JobStatus.CANCELLED
    assert "cancelled" in dashboard.get(f"/jobs/{waiting}").text


def test_cancel_pause_and_resume_by_forms(dashboard: Dashboard) -> None:
    job = dashboard.job(5)
    token = dashboard.token(f"/jobs/{job}")
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = dashboard.post(f"/jobs/{job}/{verb}", csrf=token)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
        dashboard.gateway.unscoped.refresh(job)
        assert dashboard.gateway.unscoped.job(job).status == status
    again = dashboard.post(f"/jobs/{job}/pause", csrf=token)
    assert again.status_code == 400 and "has ended" in again.text and "<h1>That cannot be done</h1>" in again.text


def test_forms_of_others_are_refused(dashboard: Dashboard) -> None:
    job = dashboard.job(5)
    assert dashboard.post(f"/jobs/{job}/cancel", csrf="").status_code == 403
    assert dashboard.post(f"/jobs/{job}/cancel", csrf="0" * 64).status_code == 403
    token = dashboard.token(f"/jobs/{job}")
    headers = {"Origin": "https://evil.example"}
    refused = dashboard.client.post(f"/jobs/{job}/cancel", data={"csrf_token": token}, headers=headers)
    assert refused.status_code == 403
    assert dashboard.client.post(f"/jobs/{job}/cancel", json={"csrf_token": token}).status_code == 400
    assert dashboard.post(f"/jobs/{job}/delete", csrf=token).status_code == 404
    assert dashboard.gateway.unscoped.job(job).status == "running"


def test_a_page_that_has_not_changed_is_not_sent_again(dashboard: Dashboard) -> None:
    path = f"/jobs/{dashboard.job()}"
    first = dashboard.client.get(path)
    again = dashboard.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_assets_come_by_name_only(dashboard: Dashboard) -> None:
    page = dashboard.get("/")
    assets = [link for link in page.links if link.startswith("/assets/")]
    assert len({dashboard.client.get(link).headers["content-type"].split(";")[0] for link in assets}) == 3
    assert dashboard.client.get("/assets/..%2Fpages.py").status_code == 404
    assert dashboard.client.get("/assets/pages.py").status_code == 404
