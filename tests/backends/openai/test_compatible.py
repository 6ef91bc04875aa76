"""Other servers that speak OpenAI's API: by a table in tuneport.toml, with less of it than OpenAI has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends import backend_manifest, open_backend
from tuneport.errors import ModelNotOfferedError, NotFoundError, UnsupportedError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import JobStatus, Method, PreparedData, TuneSpec

TABLE = """
[backends.mine]
like = "openai"
base_url = "{base_url}"
api_key_env = "MY_KEY"

[[backends.mine.models]]
id = "small"
methods = ["sft", "dpo"]
context = 8192
training = [{{ method = "sft", usd_per_mtok = 2.0 }}]

[[backends.mine.models]]
id = "free"
"""


class Smaller(OpenAIEmulator):
    """A server with jobs and files and little else: other calls are unknown addresses, lists ignore filters."""

    missing = ("/events", "/checkpoints", "/pause", "/resume", "/graders/validate", "/uploads")
    keeps_metadata = True

    def _dispatch(self, request: Any) -> Any:
        if any(request.path.endswith(end) for end in self.missing):
            request.path = "/nowhere"
        for name in [name for name in request.query if name.startswith("metadata") or name == "purpose"]:
            del request.query[name]
        return super()._dispatch(request)

    def _show(self, job: Any) -> dict[str, Any]:
        shown = super()._show(job)
        dropped = ("usage_metrics", "shared_with_openai", "integrations", "seed", "estimated_finish", "trained_tokens")
        shown = {name: value for name, value in shown.items() if name not in dropped}
        return shown if self.keeps_metadata else {**shown, "metadata": None}


@pytest.fixture
def server() -> Iterator[Smaller]:
    with Smaller(pace=0.03, models={"small": None, "free": None}) as emulator:
        yield emulator


@pytest.fixture
def settings(server: Smaller) -> Settings:
    (Path.cwd() / "tuneport.toml").write_text(TABLE.format(base_url=server.base_url))
    return Settings.load(Path.cwd(), {"MY_KEY": server.key, "TUNEPORT_HOME": str(Path.cwd() / "home")})


@pytest.fixture
def backend(settings: Settings) -> Iterator[Any]:
    opened = open_backend("mine", settings)
    yield opened
    opened.close()


@pytest.fixture
def spec(data: PreparedData) -> TuneSpec:
    return TuneSpec(model="small", dataset=data.training.path)


def test_its_models_and_prices_come_from_the_project(settings: Settings, spec: TuneSpec) -> None:
    manifest = backend_manifest("mine", settings)
    assert [model.id for model in manifest.models] == ["small", "free"]
    with JobService(settings) as workspace:
        choice = workspace.plan(spec, backend="mine").chosen
        assert choice.quote.expected is not None and "at $2.00 per 1M" in choice.quote.explanation
        free = workspace.plan(spec.model_copy(update={"model": "free"}), backend="mine").chosen
        assert free.quote.expected is None and free.allowed
        with pytest.raises(ModelNotOfferedError, match="does not offer large; `tuneport models --backend mine` lists"):
            workspace.plan(spec.model_copy(update={"model": "large"}), backend="mine")


def test_job_runs_to_its_end_through_the_library(settings: Settings, server: Smaller, spec: TuneSpec) -> None:
    with JobService(settings) as workspace:
        row = workspace.submit(spec, backend="mine")
        row = workspace.drive(row.id, poll_seconds=0.02)
        assert row.status == "succeeded", row.job_error
        assert workspace.metrics(row.id), "the result file still tells"
        assert server.jobs_created == 1


def test_calls_that_it_does_not_have_are_told_as_that(backend: Any, spec: TuneSpec, data: PreparedData) -> None:
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    for call, words in (
        (lambda: backend.events(remote_id), "events"), (lambda: backend.checkpoints(remote_id), "checkpoints"),
        (lambda: backend.pause(remote_id), "pausing"), (lambda: backend.resume(remote_id), "resuming"),
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match=f"the backend mine does not support {words}"):
            call()
    with pytest.raises(NotFoundError):
        backend.events("ftjob-none")


def test_grader_is_judged_when_the_job_is_created(backend: Any, spec: TuneSpec, data: PreparedData) -> None:
    grader = {
        "type": "string_check",
        "name": "n",
        "input": "{{sample.output_text}}",
        "reference": "x",
        "operation": "eq",
    }
    rft = spec.model_copy(update={"method": Method.RFT, "grader": grader})
    assert len(list(backend.prepare(rft, data))) == 1


def test_token_is_found_though_the_filter_is_ignored(
    backend: Any, server: Smaller, spec: TuneSpec, data: PreparedData
) -> None:
    files = list(backend.prepare(spec, data))
    ids = [backend.submit(spec, files, token=contract_job_token(str(number))).remote_id for number in range(3)]
    found = backend.find(contract_job_token("1"))
    assert found.state is not None and found.state.remote_id == ids[1]
    assert backend.find(contract_job_token("another")).answer == "absent"


def test_server_that_keeps_no_metadata_shows_which_job_may_be_the_one(
    backend: Any, server: Smaller, spec: TuneSpec, data: PreparedData
) -> None:
    server.keeps_metadata = False
    assert backend.find(contract_job_token("t")).answer == "absent", "there is no job at all"
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    found = backend.find(contract_job_token("t"))
    assert (found.answer, found.marks_seen) == ("absent", False)
    assert [job.model for job in found.unmarked] == [spec.model], "it may be the one: a person is asked"


def test_result_and_missing_fields_are_read(backend: Any, server: Smaller, spec: TuneSpec, data: PreparedData) -> None:
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    server.advance(100)
    state = backend.fetch(remote_id)
    assert state.status is JobStatus.SUCCEEDED and state.tuned_model
    assert (state.trained_tokens, state.cost, state.estimated_finish) == (None, None, None)
    assert {row.purpose for row in backend.list_files()} == {"training", "result"}, "the filter is ours, too"


class WantsLengths(OpenAIEmulator):
    """A server that answers 411 to an order without a body, as Azure does."""

    def refuse_undeclared(self, request: Any, taken: Any) -> None:
        if request.method == "POST" and not request.body:
            raise self.error(411, "A length is required.")
        if request.body != b"{}":
            super().refuse_undeclared(request, taken)


@pytest.mark.parametrize(("line", "asked"), [('orders = "empty_object"', [b"{}"]), ("", [b"", b"{}"])])
def test_orders_have_a_body_where_the_table_says_so_or_the_server_does(
    tmp_path: Path, line: str, asked: list[bytes]
) -> None:
    with WantsLengths(pace=60, models={"small": None, "free": None}) as server:
        table = TABLE.replace('like = "openai"', f'like = "openai"\n{line}').format(base_url=server.base_url)
        (Path.cwd() / "tuneport.toml").write_text(table)
        settings = Settings.load(Path.cwd(), {"MY_KEY": server.key, "TUNEPORT_HOME": str(Path.cwd() / "home")})
        backend, data = open_backend("mine", settings), prepared_chats(tmp_path)
        spec = TuneSpec(model="small", dataset=data.training.path)
        remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
        assert backend.cancel(remote_id).status is JobStatus.CANCELLED
        backend.close()
        orders = server.requests("POST", "/fine_tuning/jobs/*/cancel")
        assert [order.request_body for order in orders] == asked
