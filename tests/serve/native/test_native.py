"""/tuneport/v1: jobs, quotes, comparisons and data reports are the documents that the commands print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats, ended, open_job
from tests.support.waiting import until
from tuneport.backends import backend_manifest
from tuneport.serve.native import models as native_models
from tuneport.types import Deployment

pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


class Own:
    def __init__(self, running: Running) -> None:
        self.client = httpx.Client(base_url=running.url.removesuffix("/v1") + "/tuneport/v1/", timeout=120)

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text


@pytest.fixture
def served(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Running, Own, str]:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    running = serve(f"{OLD_MODEL}=stand-in")
    file = running.client().files.create(file=chats(tmp_path / "c.jsonl", 12), purpose="fine-tune")
    return running, Own(running), file.id


def test_a_job_with_all_that_submit_takes(served: tuple[Running, Own, str], run: Any) -> None:
    running, own, file = served
    held = open_job(running.gateway.unscoped.store)
    asked = {
        "model": "stand-in", "training_file": file, "backend": "fake", "method": "sft", "adapter": "auto",
        "hyperparameters": {"epochs": 2}, "suffix": "own", "metadata": {"team": "blue"},
    }  # fmt: skip
    job = own("POST", "jobs", asked, **{"Idempotency-Key": "k"})
    assert (job["status"], job["object"], job["suffix"]) == ("preparing", "tuneport.job", "own")
    assert own("POST", "jobs", asked, **{"Idempotency-Key": "k"})["id"] == job["id"]
    assert own("GET", f"jobs/{job['id']}")["hyperparameters"]["given"] == {"epochs": 2}
    done = ended(running.client(), job["id"])
    assert done.fine_tuned_model, done.error  # OpenAI's clients see it, too
    assert done.hyperparameters.n_epochs == 2
    told = until(lambda: (found := own("GET", f"jobs/{job['id']}"))["status"] == "succeeded" and found)
    assert told["dataset"]["path"] == file and told["adapter"] == "auto"
    code, printed, _ = run("show", job["id"], "--json")
    assert code == 0 and printed.keys() == told.keys() | {"trouble"} and printed["actual"] == told["actual"]
    code, printed, _ = run("metrics", job["id"], "--json")
    assert own("GET", f"jobs/{job['id']}/metrics") == printed and printed["data"]
    page = own("GET", "jobs?limit=1")
    assert [row["id"] for row in page["data"]] == [job["id"]] and page["has_more"]
    rest = own("GET", f"jobs?limit=1&after={job['id']}")
    assert [row["id"] for row in rest["data"]] == [held] and not rest["has_more"], "that of the command line, too"
    assert [row["id"] for row in own("GET", "jobs?status=succeeded")["data"]] == [job["id"]]
    assert own("POST", f"jobs/{job['id']}/cancel")["status"] == "succeeded", "no change, no error"
    own("POST", f"jobs/{job['id']}/pause", status=400)
    assert own("DELETE", f"jobs/{job['id']}")["deleted_at"] is not None


def test_a_job_with_a_grader_is_taken_and_openai_s_clients_see_the_grader(served: tuple[Running, Own, str]) -> None:
    running, own, file = served
    grader = {
        "type": "string_check",
        "name": "same",
        "input": "{{sample.output_text}}",
        "reference": "a",
        "operation": "eq",
    }
    job = own("POST", "jobs", {"model": "stand-in", "training_file": file, "method": "rft", "grader": grader})
    told = running.client().fine_tuning.jobs.retrieve(job["id"]).method
    assert told.type == "reinforcement" and told.reinforcement.grader.to_dict() == grader


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": "/etc/passwd"}, "model"),
        ({"model": "../x", "backend": "local"}, "model"),
        ({"reward": "os:system", "method": "grpo"}, "reward"),
        ({"from_checkpoint": "/root"}, "from_checkpoint"),
        ({"provider_options": {"tensorboard": "/tmp/x"}}, "provider_options.tensorboard"),
        ({"training_file": "file-none"}, "training_file"),
        ({"cancel_over_budget": True}, "cancel_over_budget"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_no_client_may_ask_for(served: tuple[Running, Own, str], more: dict[str, Any], param: str) -> None:
    _, own, file = served
    error = own("POST", "jobs", {"model": "stand-in", "training_file": file, **more}, status=400)["error"]
    assert error["param"] == param and error["message"]


def test_before_there_is_a_job(served: tuple[Running, Own, str], tmp_path: Path, run: Any) -> None:
    running, own, file = served
    data, home = str(tmp_path / "c.jsonl"), str(running.gateway.contents.folder)
    code, printed, _ = run("backends", "--json")
    assert own("GET", "backends") == printed

    found = own("POST", "quotes", {"model": "llama-3.1-8b-instruct", "training_file": file,
                                   "backends": ["together", "local"], "method": "sft"})  # fmt: skip
    assert {row["backend"] for row in found["data"]} == {"together", "local"} and found["rows"] == 12
    for row in found["data"]:
        assert row["training"]["expected"] is not None or row["training"]["unavailable"]

    asked = {"training_file": file, "models": ["llama-3.1-8b-instruct"], "backends": ["together"], "requests": 1000,
             "input_tokens_per_request": 400, "output_tokens_per_request": 80}  # fmt: skip
    options = ["-m", "llama-3.1-8b-instruct", "-b", "together", "--requests", "1000", "--tokens-per-request", "400:80"]
    code, printed, _ = run("compare", data, *options, "--json")
    assert own("POST", "comparisons", asked) == printed | {"dataset": file}
    assert own("POST", "comparisons", asked, Accept="text/csv").startswith("backend,")
    page = own("POST", "comparisons", asked, Accept="text/html")
    assert "<html" in page and home not in page

    code, printed, _ = run("check", data, "--json")
    report = own("POST", "data_reports", {"file": file})
    assert report["status"] == "completed" and report["report"] == json.loads(json.dumps(printed).replace(data, file))
    assert own("GET", f"data_reports/{report['id']}") == report
    own("GET", "data_reports/report-none", status=404)
    broken = running.client().files.create(file=("b.jsonl", b'{"what": 1}\n'), purpose="fine-tune").id
    told = own("POST", "data_reports", {"file": broken})
    assert told["status"] == "failed" and home not in json.dumps(told) and broken in told["error"]
    refused = own("POST", "quotes", {"model": "stand-in", "training_file": broken, "backends": ["fake"]}, status=400)
    assert home not in json.dumps(refused) and refused["error"]["message"]


def test_a_report_that_takes_longer_is_asked_for_again(
    served: tuple[Running, Own, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from tuneport.serve.native import estimates as prospects

    go, calls = threading.Event(), []

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        go.wait(60)
        return check(*arguments, **options)

    check = prospects.check
    monkeypatch.setattr(prospects, "check", slow)
    running, own, file = served
    first = own("POST", "data_reports?wait=0", {"file": file}, status=202)
    assert first["status"] == "running" and own("POST", "data_reports?wait=0", {"file": file}, status=202) == first
    assert own("GET", "backends")["data"], "nobody else waits"
    go.set()
    assert own("GET", f"data_reports/{first['id']}?wait=60")["report"]["rows"] == 12 and len(calls) == 1


def test_who_compares_much_is_told_to_wait_and_keeps_nobody_else_waiting(
    served: tuple[Running, Own, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    import time

    from tuneport.serve import task_cache
    from tuneport.serve.native import estimates as prospects

    go, calls = threading.Event(), []

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(options["model"])
        go.wait(60)
        return compare(*arguments, **options)

    compare = prospects.compare
    monkeypatch.setattr(prospects, "compare", slow)
    running, own, file = served
    asked = {"training_file": file, "models": ["llama-3.1-8b-instruct"], "backends": ["together"], "requests": 1000}
    each = [asked | {"requests": 1000 + number} for number in range(task_cache.MOST_UNDER_WAY)]
    for one in each:
        assert own("POST", "comparisons?wait=0", one, status=202)["status"] == "running"
    assert own("POST", "comparisons?wait=0", each[0], status=202), "which is under way already"
    assert "try again" in own("POST", "comparisons?wait=0", asked | {"requests": 7}, status=429)["error"]["message"]
    began = time.monotonic()
    client = running.client()
    assert client.fine_tuning.jobs.list().data == [] and client.files.retrieve(file).id == file
    assert own("GET", "backends")["data"] and own("POST", "data_reports", {"file": file})["status"] == "completed"
    assert time.monotonic() - began < 20 and len(calls) == task_cache.AT_ONCE
    go.set()
    told = own("POST", "comparisons?wait=60", each[0])
    assert told["rows"] == 12 and told["traffic_per_month"]["requests"] == 1000
    assert len(own("POST", "comparisons?wait=60", each[-1])["choices"]) >= 1
    until(lambda: len(calls) == len(each), 20.0)


@pytest.mark.parametrize(
    ("path", "name"), [("quotes", "backends"), ("comparisons", "backends"), ("comparisons", "models")]
)
def test_a_list_of_names_is_short_and_each_name_counts_once(
    served: tuple[Running, Own, str], path: str, name: str
) -> None:
    _, own, file = served
    known = {"backends": "together", "models": "llama-3.1-8b-instruct"}
    asked = {"training_file": file, name: [known[name]] * 50}
    asked |= {"model": known["models"]} if path == "quotes" else {}
    told = own("POST", f"{path}?wait=60", asked)
    once = own("POST", f"{path}?wait=60", asked | {name: [known[name]]})
    rows = [row for row in told.get("data") or told["choices"] if row["backend"] == "together"]
    assert rows and rows == [row for row in once.get("data") or once["choices"] if row["backend"] == "together"]
    refused = own("POST", path, asked | {name: [known[name]] * 51}, status=400)["error"]
    assert refused["param"] == name and "50" in refused["message"]


def test_its_document_names_all_shapes(served: tuple[Running, Own, str]) -> None:
    _, own, _ = served
    document = own("GET", "openapi.json")
    paths = {path for path in document["paths"] if path.startswith("/tuneport/v1/")}
    assert {
        f"/tuneport/v1/{name}"
        for name in ("backends", "quotes", "comparisons", "data_reports", "jobs", "jobs/{job_id}", "events",
                     "jobs/{job_id}/events", "jobs/{job_id}/metrics", "jobs/{job_id}/cancel")
    } <= paths  # fmt: skip
    for path in paths:
        for operation in document["paths"][path].values():
            assert "400" in operation["responses"] and operation["summary"]


def test_models_with_their_last_days_and_whether_they_answer(
    served: tuple[Running, Own, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, own, file = served
    jobs = [own("POST", "jobs", {"model": "stand-in", "training_file": file, "suffix": name})["id"] for name in "ab"]
    for job in jobs:
        assert ended(running.client(), job).status == "succeeded"
    told = own("GET", "models")
    by_id = {(row["backend"], row["id"]): row for row in told["base"]}
    old = by_id["openai", "gpt-4.1-mini-2025-04-14"]
    assert (old["retires"], old["answers"]) == ("2027-01-14", "not_configured") and "sft" in old["methods"]
    assert by_id["local", "smollm2-135m-instruct"]["answers"] == "now"
    assert "lora" in by_id["local", "smollm2-135m-instruct"]["adapters"]
    assert [row["job"] for row in told["tuned"]] == jobs[::-1] and not told["has_more"]
    newest = told["tuned"][0]
    assert newest["id"] == running.client().fine_tuning.jobs.retrieve(jobs[1]).fine_tuned_model
    assert (newest["base"], newest["method"], newest["suffix"], newest["answers"]) == ("stand-in", "sft", "b", "now")

    page = own("GET", "models?limit=1")
    assert page["has_more"] and [row["job"] for row in page["tuned"]] == jobs[1:]
    rest = own("GET", f"models?limit=1&after={jobs[1]}")
    assert (rest["base"], [row["job"] for row in rest["tuned"]], rest["has_more"]) == ([], jobs[:1], False)
    own("GET", "models?after=job-none", status=404)
    assert {row["backend"] for row in own("GET", "models?backend=together")["base"]} == {"together"}

    opened = running.gateway.unscoped.backend("fake")
    served_as = Deployment(id="e1", model=newest["backend_model"], status="ready", raw_status="UP", usd_per_hour=4.0)
    theirs = Deployment(id="endpoint-of-another", model="another's", status="ready", raw_status="UP")
    monkeypatch.setattr(type(opened), "deployments", lambda self: [served_as, theirs])
    notice = backend_manifest("azure", running.gateway.settings).deployment
    needing = backend_manifest("fake", running.gateway.settings).model_copy(update={"deployment": notice})
    known = native_models.backend_manifest
    monkeypatch.setattr(
        native_models, "backend_manifest", lambda name, of: needing if name == "fake" else known(name, of)
    )
    assert {row["answers"] for row in own("GET", "models")["tuned"]} == {"from_endpoint"}
    asked = own("GET", "models?endpoints=true")
    assert [row["answers"] for row in asked["tuned"]] == [
        "now",
        "from_endpoint",
    ] and "endpoint-of-another" not in json.dumps(asked)
    assert asked["tuned"][0]["endpoint"] == {"id": "e1", "status": "ready", "usd_per_hour": 4.0}
