"""Jobs at OpenAI: what is refused, what goes along, where training goes on, events between pages, what nobody knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from tuneport.backends.openai.jobs import (
    parse_openai_base_model,
    parse_openai_event_metrics,
    parse_openai_metric,
    parse_openai_metrics_csv,
    parse_remote_model,
)
from tuneport.errors import ConfigError, NotFoundError, ProviderError
from tuneport.testing.contract import contract_job_token
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.testing.emulators.wire import EmulatedRequest
from tuneport.types import Hyperparameters, JobStatus, PreparedData, TuneSpec, Wandb

MODEL = "gpt-4.1-mini-2025-04-14"


def started(backend: Any, spec: TuneSpec, data: PreparedData, word: str = "t") -> str:
    return str(backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token(word)).remote_id)


# --- what goes along, and what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {f"k{n}": "v" for n in range(16)}}, "up to 16 pairs of metadata, .* included, not 17"),
        ({"metadata": {"k" * 65: "v"}}, "keys of up to 64 characters, not 65"),
        ({"metadata": {"k": "v" * 513}}, "values of up to 512 characters, not 513"),
        ({"suffix": ""}, "suffix is empty"),
        ({"wandb": Wandb(project="p"), "provider_options": {"integrations": []}}, "integrations clashes .* wandb"),
    ],
)  # fmt: skip
def test_what_the_service_would_refuse_is_refused_before_anything_is_sent(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, change: Any, words: str
) -> None:
    backend, changed = connect(openai), spec.model_copy(update=change)
    for call in (lambda: backend.check(changed), lambda: list(backend.prepare(changed, data))):
        with pytest.raises(ConfigError, match=words):
            call()
    assert openai.log == []


def test_the_most_that_the_service_takes_is_taken(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    most = {"k" * 62 + f"{n:02}": "v" * 512 for n in range(15)}
    started(connect(openai), spec.model_copy(update={"metadata": most, "suffix": "s" * 64}), data)
    assert openai.jobs_created == 1


def test_wandb_is_an_integration(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    run = Wandb(project="bot", name="first", entity="team", tags=("a", "b"))
    started(connect(openai), spec.model_copy(update={"wandb": run, "budget": 5.0}), data)
    assert openai.requests("POST", "/fine_tuning/jobs")[-1].request_json()["integrations"] == [
        {"type": "wandb", "wandb": {"project": "bot", "name": "first", "entity": "team", "tags": ["a", "b"]}}
    ]


# --- training that goes on --------------------------------------------------------------------------------------------


def test_training_goes_on_from_a_job_a_checkpoint_or_a_name(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    first = started(backend, spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=3)}), data)
    openai.advance(100)
    tuned = backend.fetch(first).tuned_model
    middle = backend.checkpoints(first)[0]
    for number, (given, model) in enumerate(
        ((first, tuned), (f"{first}:{middle.step}", middle.model), (tuned, tuned), (middle.model, middle.model))
    ):
        started(backend, spec.model_copy(update={"from_checkpoint": given}), data, f"again {number}")
        assert openai.requests("POST", "/fine_tuning/jobs")[-1].request_json()["model"] == model
    openai.advance(100)
    again = next(state for state in backend.list_jobs() if state.model == tuned)
    assert again.status is JobStatus.SUCCEEDED and again.cost is not None, "the price is that of the base"


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        ("ftjob-none", NotFoundError, "ftjob-none"),
        ("{job}:7", ConfigError, "no checkpoint of step 7 .* those it has: none"),
        ("{job}", ConfigError, "made no model in ftjob-.* yet"),
    ],
)
def test_what_training_cannot_go_on_from_costs_no_upload(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, start: str, error: Any,
    words: str,
) -> None:  # fmt: skip
    openai.pace, backend = 600, connect(openai)
    spec = spec.model_copy(update={"from_checkpoint": start.format(job=started(backend, spec, data))})
    before = len(openai.requests("POST", "/files"))
    with pytest.raises(error, match=words):
        list(backend.prepare(spec, data))
    assert len(openai.requests("POST", "/files")) == before


def test_job_that_is_found_again_holds_no_key(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    openai.jobs[started(backend, spec, data)].suffix = openai.key
    found = backend.find(contract_job_token("t"))
    assert found.answer == "found" and openai.key not in found.model_dump_json()


@pytest.mark.parametrize("way", ["{tuned}", "{job}", "{job}:{step}"])
def test_training_goes_on_only_from_the_model_whose_price_was_judged(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, way: str
) -> None:
    backend, dear = connect(openai), spec.model_copy(update={"model": "gpt-4.1-2025-04-14"})
    job = started(backend, dear.model_copy(update={"hyperparameters": Hyperparameters(epochs=3)}), data)
    openai.advance(100)
    step, before = backend.checkpoints(job)[0].step, len(openai.requests("POST", "/files"))
    start = way.format(tuned=backend.fetch(job).tuned_model, job=job, step=step)
    cheap = spec.model_copy(update={"from_checkpoint": start, "budget": 1.0})
    refused = "was tuned from gpt-4.1-2025-04-14, not from gpt-4.1-mini-2025-04-14; give --model gpt-4.1-2025-04-14"
    with pytest.raises(ConfigError, match=refused):
        list(backend.prepare(cheap, data))
    with pytest.raises(ConfigError, match=refused):
        backend.submit(cheap, list(backend.prepare(dear, data)), token=contract_job_token("cheap"))
    assert openai.jobs_created == 1 and len(openai.requests("POST", "/files")) == before


def test_name_of_another_model_is_refused_without_a_request(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec
) -> None:
    backend = connect(openai)
    backend.check(spec.model_copy(update={"from_checkpoint": "ft:gpt-4.1-mini:org::abc"}))  # the name without its date
    with pytest.raises(ConfigError, match="ft:gpt-4.1:org::abc was tuned from gpt-4.1-2025-04-14, not from"):
        backend.check(spec.model_copy(update={"from_checkpoint": "ft:gpt-4.1:org::abc"}))
    assert openai.log == []


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("gpt-4.1-2025-04-14", "give --model gpt-4.1-2025-04-14"),
        ("somebody-s", "is unknown, .* budget cannot be kept"),
    ],
)
def test_budget_holds_only_where_the_base_is_known(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, start: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        list(connect(openai).prepare(spec.model_copy(update={"from_checkpoint": start, "budget": 1.0}), data))
    assert not openai.requests("POST", "/files")


def test_checkpoint_that_cannot_be_asked_for_starts_nothing(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    """The reads before the call that spends money may fail; whoever asks then knows that nothing was started."""
    backend = connect(openai)
    first = started(backend, spec, data)
    openai.advance(100)
    files = list(backend.prepare(spec, data))
    openai.fail("status", method="GET", path="/fine_tuning/jobs/*", status=503, times=None)
    with pytest.raises(ProviderError, match="nothing was started") as caught:
        backend.submit(spec.model_copy(update={"from_checkpoint": first}), files, token=contract_job_token("again"))
    assert caught.value.retryable and openai.jobs_created == 1


# --- what it cost -----------------------------------------------------------------------------------------------------


def test_cost_is_computed_from_the_trained_tokens_and_says_so(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    remote_id = started(backend, spec, data)
    openai.advance(100)
    state = backend.fetch(remote_id)
    assert state.cost == pytest.approx(state.trained_tokens / 1e6 * 5.00)
    assert state.details["cost"] == {
        "computed": f"{state.trained_tokens:,} trained tokens at $5.00 per 1M",
        "source": "https://openai.com/api/pricing",
        "as_of": "2025-11-01",
    }


def test_estimated_finish_is_told_until_the_end(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.pace, backend = 60, connect(openai)
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    assert state.estimated_finish is not None and state.estimated_finish > state.created_at
    openai.advance(1_000)
    assert backend.fetch(state.remote_id).estimated_finish is None


def test_models_have_their_last_day(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    started(backend, spec, data)
    openai.advance(100)
    base, tuned = (
        [model for model in backend.list_models() if model.tuned is kind and parse_openai_base_model(model.id) == MODEL]
        for kind in (False, True)
    )
    assert [model.shutdown_date for model in base + tuned[:1]] == [date(2027, 1, 14)] * 2


@pytest.mark.parametrize("given", [None, "", "soon", 7, "2027-01-14T00:00:00Z"])
def test_last_day_of_another_form_is_no_error(given: Any) -> None:
    day = parse_remote_model({"id": "m", "shutdown_date": given}).shutdown_date
    assert day == (date(2027, 1, 14) if str(given).startswith("2027") else None)


# --- events and metrics -----------------------------------------------------------------------------------------------


class Busy(OpenAIEmulator):
    """Writes an event before it answers each page of events; `forgets` cursors that often."""

    forgets = 0
    told = 0

    def _page(
        self, request: EmulatedRequest, things: list[dict[str, Any]], *more: Any, **options: Any
    ) -> dict[str, Any]:
        if request.path.endswith("/events"):
            (job,) = self.jobs.values()
            self.told += 1
            job.plan.events.append(
                {"object": "fine_tuning.job.event", "id": f"ftevent-late{self.told:04}", "level": "info", "data": {},
                 "created_at": int(self.now()), "message": f"late {self.told}", "type": "message"}
            )  # fmt: skip
            things = job.events(self.now())
            if request.query.get("after") and self.forgets:
                self.forgets -= 1
                raise self.error(400, "Invalid value for 'after'", param="after")
        return super()._page(request, things, *more, **options)


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy(pace=0.03) as emulator:
        yield emulator


def test_events_that_arrive_between_pages_come_with_the_next_call(
    busy: Busy, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    long, backend = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=25, batch_size=1)}), connect(busy)
    remote_id = started(backend, long, data)
    busy.advance(1_000)
    first = list(backend.events(remote_id))
    assert len(busy.requests("GET", "/fine_tuning/jobs/*/events")) >= 2
    second = list(backend.events(remote_id, after=first[-1].id))
    told = [event.id for event in [*first, *second]]
    assert len(told) == len(set(told))
    (job,) = busy.jobs.values()
    assert told == [event["id"] for event in reversed(job.events(busy.now()))]


def test_cursor_that_the_server_forgets_begins_the_list_anew(
    busy: Busy, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    long, backend = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=25, batch_size=1)}), connect(busy)
    remote_id = started(backend, long, data)
    busy.advance(1_000)
    busy.forgets = 2
    events = list(backend.events(remote_id))
    assert events[0].message.startswith("Created fine-tuning job")
    assert len({event.id for event in events}) == len(events) > 100


def test_event_that_the_server_no_longer_knows_gives_all_that_it_has(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    remote_id = started(backend, spec, data)
    openai.advance(100)
    everything = [event.id for event in backend.events(remote_id)]
    assert [event.id for event in backend.events(remote_id, after="ftevent-gone")] == everything


def test_metrics_of_events_take_each_step_once_and_leave_the_rest() -> None:
    events: list[dict[str, Any]] = [
        {"data": {"step": 2, "train_loss": 0.5}}, {"data": {"step": 1, "train_loss": 0.9}},
        {"data": {"step": 2, "train_loss": 0.4}}, {"data": None}, {}, {"data": ["step"]}, {"data": {"step": "x"}},
    ]  # fmt: skip
    points = parse_openai_event_metrics(events)
    assert [(point.step, point.train_loss) for point in points] == [(1, 0.9), (2, 0.4)]


def test_columns_of_reinforcement_and_of_azure_are_read() -> None:
    text = "step,train_reward_mean,valid_reward_mean,train_reasoning_tokens_mean\r\n1,0.25,,310\r\n2,0.5,0.4,290\r\n"
    first, last = parse_openai_metrics_csv(text.encode())
    assert first.extra == {"train_reward_mean": 0.25, "train_reasoning_tokens_mean": 310}
    assert last.extra["valid_reward_mean"] == 0.4
    assert parse_openai_metric({"step": "1", "validation_mean_token_accuracy": "0.5"}).valid_accuracy == 0.5


# --- what nobody knows yet --------------------------------------------------------------------------------------------


class Newer(OpenAIEmulator):
    """A later version of the service: fields, words and types of which nothing is known."""

    def _show(self, job: Any) -> dict[str, Any]:
        shown = {**super()._show(job), "carbon": {"grams": 3}, "eval_id": None, "tags": ["x"]}
        if shown["status"] == "running":
            shown["status"] = "warming_up"
        return shown

    def _add_file(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        file = super()._add_file(*arguments, **options)
        file |= {"scan": {"verdict": "clean"}, "status": "scanned"}
        return file

    def _model(self, id: str) -> dict[str, Any]:
        return {**super()._model(id), "capabilities": {"vision": True}}


def test_later_version_of_the_service_is_survived(
    connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, caplog: pytest.LogCaptureFixture
) -> None:
    events = [
        {"object": "fine_tuning.job.event", "id": "ftevent-new1", "created_at": 1, "level": "notice", "message": "!",
         "type": "moderation_checks", "data": {"blocked": False, "results": [1]}},
        {"object": "fine_tuning.job.event", "id": "ftevent-new2", "created_at": None, "data": ["a", "list"]},
    ]  # fmt: skip
    with Newer(pace=60) as newer:
        newer.next_job(events=events)
        backend = connect(newer)
        remote_id = started(backend, spec, data)
        newer.advance(130)
        with caplog.at_level(logging.WARNING):
            running = backend.fetch(remote_id)
            backend.fetch(remote_id)
        assert (running.status, running.raw_status) == (JobStatus.RUNNING, "warming_up")
        assert len([row for row in caplog.records if "warming_up" in row.message]) == 1
        told = {event.id: event for event in backend.events(remote_id)}
        assert told["ftevent-new1"].type == "moderation_checks" and told["ftevent-new1"].level == "info"
        assert told["ftevent-new2"].message == "" and told["ftevent-new2"].data == {}
        assert backend.metrics(remote_id)
        newer.advance(1_000)
        done = backend.fetch(remote_id)
        assert done.status is JobStatus.SUCCEEDED and done.tuned_model
        assert backend.checkpoints(remote_id) and list(backend.list_models()) and list(backend.list_files())
        assert backend.find(contract_job_token("t")).answer == "found"
