"""pause, resume, delete, checkpoints, files, watch for all, terms: as people and scripts use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.support.terminal import pretend_terminal, without_styles
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.together.emulator import TogetherEmulator

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
TEST = str(FIXTURES / "datasets" / "support_intents.test.jsonl")
OPENAI = ("submit", "--yes", "--anyway", "--again", TRAIN, "--model", "gpt-4.1-mini", "--backend", "openai")


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    return lead_to(OpenAIEmulator(pace=600))


def test_a_job_s_life_by_command(run: Run, openai: OpenAIEmulator) -> None:
    _, job, _ = run(*OPENAI, "--json")
    openai.advance(1300)
    code, out, _ = run("pause", job["id"])
    assert (code, out) == (0, f"{job['id']} is paused\n")
    code, document, _ = run("resume", job["id"], "--json")
    assert (code, document["status"]) == (0, "running")
    openai.advance(3600)
    code, document, _ = run("watch", job["id"], "--json")
    assert code == 0
    code, listed, _ = run("checkpoints", job["id"], "--json")
    assert code == 0 and [point["step"] for point in listed["data"]] == sorted(
        point["step"] for point in listed["data"]
    )
    code, out, _ = run("checkpoints", job["id"])
    assert code == 0 and "ckpt" in out
    code, _, error = run("delete", job["id"], "--json")
    assert code == 2 and "Say so with --yes" in error and not openai.deleted_models
    code, document, _ = run("delete", job["id"], "--yes", "--json")
    assert code == 0 and document["deleted_at"] and openai.deleted_models == {document["tuned_model"]}
    code, _, error = run("chat", job["id"], "Hello?")
    assert code == 2 and "was deleted at openai" in error


@pytest.mark.parametrize("command", ["pause", "resume", "delete", "checkpoints"])
def test_an_unknown_job_is_told(run: Run, command: str) -> None:
    code, document, error = run(command, "job-none", "--json")
    assert code == 2 and document["error"]["type"] == "UnknownJobError" and error.startswith("error: ")


def test_files_lists_and_deletes(run: Run, openai: OpenAIEmulator) -> None:
    assert run("files", "--json")[1] == {"object": "list", "data": [], "trouble": {}}
    _, job, _ = run(*OPENAI, "--no-validation", "--json")
    _, listed, _ = run("files", "--json")
    (entry,) = listed["data"]
    assert entry["backend"] == "openai" and entry["in_use"] and entry["jobs"][0]["id"] == job["id"]
    code, out, _ = run("files", "--backend", "openai")
    assert code == 0 and entry["id"] in out and job["id"][:8] in out
    code, _, error = run("files", "--delete", entry["id"], "--yes")
    assert code == 2 and "is used by" in error
    code, document, _ = run("files", "--unused", "--yes", "--json")
    assert code == 0 and document["deleted"] == []
    run("cancel", job["id"])
    code, document, error = run("files", "--unused", "--json")
    assert code == 2 and "Say so with --yes" in error
    code, document, _ = run("files", "--unused", "--yes", "--json")
    assert [file["id"] for file in document["deleted"]] == [entry["id"]] and not openai.files
    code, _, error = run("files", "--delete", "file-none", "--yes")
    assert code == 2 and "no file 'file-none'" in error
    code, _, error = run("files", "--delete", "x", "--unused")
    assert code == 2 and "give one of them" in error


def test_delete_files_is_an_option_of_submit(run: Run, openai: OpenAIEmulator) -> None:
    openai.pace = 0.02
    code, job, _ = run(*OPENAI, "--delete-files", "--wait", "--json")
    assert code == 0 and job["delete_files"]
    assert [file["purpose"] for file in openai.files.values()] == ["fine-tune-results"]


def test_terms_are_shown_once_before_the_first_job(run: Run, openai: OpenAIEmulator) -> None:
    code, document, error = run(*OPENAI, "--json")
    assert code == 0 and "compete with OpenAI" in error and "https://openai.com/policies/" in error
    assert "read the page" in error, "what was not read in the vendor's own page says so"
    code, _, error = run(*OPENAI, "--json")
    assert code == 0 and "compete" not in error
    _, listed, _ = run("backends", "--json")
    terms = {row["name"]: row["terms"] for row in listed["data"]}
    assert all(terms[name] for name in ("openai", "together", "local"))
    assert all(term["url"].startswith("https://") and term["confidence"] for term in terms["together"])


def test_a_base_model_s_licence_is_shown_with_its_first_job(
    run: Run, monkeypatch: pytest.MonkeyPatch, isolated: Path
) -> None:
    with TogetherEmulator(pace=0.01) as together:
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", together.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
        arguments = ("submit", "--yes", "--anyway", TRAIN, "--model", "llama-3.1-8b-instruct", "--backend", "together")
        _, _, error = run(*arguments)
        assert "Llama 3.1 Community" in error and "together.ai/terms-of-service" in error
        assert "Community" not in run(*arguments)[2]


@pytest.mark.full
def test_the_fourth_job_waits_and_watch_starts_it(run: Run, openai: OpenAIEmulator) -> None:
    started = [run(*OPENAI, "--json")[1] for _ in range(3)]
    code, out, _ = run(*OPENAI)
    assert code == 0 and "waits for one of the 3 jobs" in out and "`tuneport watch` starts it" in out
    _, listed, _ = run("jobs", "--json")
    assert listed["data"][0]["status"] == "submitting" and "limit of the account" in listed["data"][0]["note"]
    openai.pace = 0.02  # of jobs to come
    openai.advance(3600)
    code, document, error = run("watch", "--json")
    assert code == 0, error
    assert {job["status"] for job in document["data"]} == {"succeeded"} and len(document["data"]) == 4
    assert openai.jobs_created == 4 and all(job["id"] in error for job in started)
    code, out, error = run("jobs", "--watch")
    assert (code, out) == (0, "nothing to watch\n") and "no unfinished jobs" in error


def test_a_job_that_failed_is_in_the_exit_code_of_watch(run: Run, openai: OpenAIEmulator) -> None:
    openai.next_job(fails_with={"code": "server_error", "message": "It broke."})
    run(*OPENAI)
    run(*OPENAI)
    openai.advance(3600)
    code, out, error = run("watch")
    assert (code, out) == (3, "1 failed, 1 succeeded\n") and "failed: It broke." in error


def test_the_closed_service_names_the_way_out(run: Run, openai: OpenAIEmulator) -> None:
    openai.refuse = "training_not_available"
    code, document, error = run(*OPENAI, "--json")
    assert code == 3
    assert {entry["backend"] for entry in document["error"]["details"]["alternatives"]} == {
        "azure",
        "together",
        "local",
    }
    assert not openai.files
    code, _, error = run(*OPENAI)
    assert code == 3 and "`tuneport submit " in error and not openai.files


def test_ten_thousand_rows_are_listed_by_their_newest(run: Run, openai: OpenAIEmulator) -> None:
    """Only what is shown is read and asked about."""
    from sqlalchemy import insert

    _, job, _ = run(*OPENAI, "--json")
    with JobService() as workspace:
        row = workspace.job(job["id"])
        common = {
            name: getattr(row, name)
            for name in ("project", "backend", "model", "spec", "prepared", "created_at", "updated_at")
        }
        old = common | {"created_at": row.created_at.replace(year=2020), "status": "running", "due_at": row.created_at}
        rows = [old | {"id": f"job-x{n}", "token": f"{n}", "remote_id": f"ftjob-x{n}"} for n in range(10_000)]
        for entry in rows:
            entry["submit_attempts"] = 1
        with workspace.store.database.transaction() as session:
            session.execute(insert(JobRow), rows)
    before = len(openai.log)
    code, listed, _ = run("jobs", "--limit", "3", "--json")
    assert code == 0 and listed["data"][0]["id"] == job["id"] and len(listed["data"]) == 3
    assert len(openai.log) - before <= 4


def test_what_jobs_cost_stands_beside_what_they_were_to_cost(run: Run, openai: OpenAIEmulator) -> None:
    _, job, _ = run(*OPENAI, "--json")
    assert job["actual"] is None and job["estimate"]["usd_per_mtok"] == 5.0
    code, out, _ = run("jobs", "--costs")
    assert code == 0 and out.split("\n")[2].split()[-1] == "-", "it has not ended"
    openai.advance(4000)
    run("watch", job["id"], "--json")
    code, listed, _ = run("jobs", "--costs", "--json")
    [row], [error] = listed["data"], listed["accuracy"]
    assert code == 0 and row["actual"]["usd"] == pytest.approx(row["quote"]["expected"], rel=1e-6)
    assert error["backend"] == "openai" and error["cost"]["jobs"] == 1 and error["cost"]["mean_error"] < 1e-6
    code, out, _ = run("jobs", "--costs")
    assert (
        code == 0
        and "openai: cost estimates were off by 0% on average (1 job)," in out
        and max(map(len, out.split("\n"))) <= 80
    )
    code, out, _ = run("show", job["id"])
    assert code == 0 and "trained tokens at $5.00 per 1M)" in out and "time " in out


def test_doctor_and_show_tell_where_budgets_stand(
    run: Run, openai: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_MONTHLY_BUDGET", "2,000")
    _, job, _ = run(*OPENAI, "--budget", "50", "--cancel-over-budget", "--json")
    assert job["cancel_over_budget"] and job["projection"]["because"] == "as quoted"
    _, out, _ = run("show", job["id"])
    assert "within its budget of $50.00 (as quoted)" in out
    _, found, _ = run("doctor", "--json")
    [budget] = [row for row in found["data"] if row["subject"] == "budget"]
    assert budget["verdict"] == "ok" and "reserved for 1 unfinished job, of at most $2,000.00" in budget["message"]
    monkeypatch.setenv("TUNEPORT_MONTHLY_BUDGET", "0.01")
    code, _, error = run(*OPENAI, "--json")
    assert code == 2 and "above TUNEPORT_MONTHLY_BUDGET of $0.01; nothing was started" in error
    _, found, _ = run("doctor", "--json")
    [budget] = [row for row in found["data"] if row["subject"] == "budget"]
    assert budget["verdict"] == "warn" and budget["fix"].startswith("jobs that cost anything are refused")


def test_metrics_shows_the_last_rows_and_the_curve(
    run: Run, openai: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job, _ = run(*OPENAI, "--validation", TEST, "--json")
    openai.advance(4000)
    run("watch", job["id"], "--json")
    steps = [point["step"] for point in run("metrics", job["id"], "--json")[1]["data"]]
    assert len(steps) > 25

    def shown(*options: str) -> tuple[list[int], str, str]:
        _, out, error = run("metrics", job["id"], *options)
        out = without_styles(out)
        return [int(line.split()[0]) for line in out.splitlines() if line.split()[0].isdigit()], out, error

    told, out, error = shown()
    assert told == steps and error == "", "a pipe gets all"
    assert [line.split()[0] for line in out.splitlines() if "▁" in line] == ["train", "valid"]
    assert [point["step"] for point in run("metrics", job["id"], "--last", "3", "--json")[1]["data"]] == steps[-3:]
    pretend_terminal(monkeypatch)
    told, out, error = shown()
    assert told == steps[-20:] and f"the last 20 of {len(steps)} rows; --last 0 shows all" in error
    assert max(map(len, out.splitlines())) <= 80
    assert shown("--last", "5")[0] == steps[-5:] and shown("--last", "0")[0] == steps


def test_watch_show_and_metrics_say_what_the_curve_says(run: Run, openai: OpenAIEmulator) -> None:
    _, job, _ = run(*OPENAI, "--validation", TEST, "--json")
    openai.advance(4000)
    code, document, said = run("watch", job["id"], "--json")
    assert code == 0 and document["curve"]["finding"] and document["curve"]["best_step"]
    for command in ("watch", "show", "metrics"):
        code, out, _ = run(command, job["id"])
        assert code == 0 and f"curve: {document['curve']['finding'].split('_')[0]}" in out
        assert max(len(line) for line in out.split("curve: ")[1].splitlines()) <= 80
    assert run("metrics", job["id"], "--json")[1]["curve"] == document["curve"]
