"""The promises of every backend, as a suite for pytest. A backend passes by subclassing `BackendContract` with a
`case`.

    class TestMine(BackendContract):
        @pytest.fixture
        def case(self, tmp_path):
            data = prepared_chats(tmp_path)
            backend = open_backend("mine", Settings.load(tmp_path, {"TUNEPORT_HOME": str(tmp_path / "home")}))
            return Case(backend, TuneSpec(model="some-model", dataset=data.training.path), data, patience=5.0)

Where a job takes long, override `case`, `submitted` and `finished` as class methods with `scope="class"`: the tests
that need a finished job then share one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend, raise_chat_errors
from tuneport.errors import (
    AuthError,
    BudgetError,
    ConfigError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.installation import install_extra
from tuneport.types import (
    Completion,
    DataFile,
    Hyperparameters,
    JobState,
    JobStatus,
    PreparedData,
    RemoteFile,
    TuneSpec,
)

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError(
        f"tuneport.testing.contract is a suite for pytest: {install_extra('testing')}", name="pytest"
    ) from error

QUESTIONS = [
    ("Where is my parcel?", "tracking"),
    ("My card was charged twice.", "billing"),
    ("I want my money back.", "refund"),
    ("How do I change my password?", "account"),
    ("The screen arrived broken.", "damage"),
    ("Can I get a new invoice?", "billing"),
]


def prepared_chats(folder: Path, *, repeat: int = 2) -> PreparedData:
    """Return twelve rows of OpenAI's chat format, of six questions with a one-word answer each."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Name the intent."},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }
        for question, answer in QUESTIONS * repeat
    ]
    return PreparedData(training=write_contract_rows(folder / "train.jsonl", rows))


def write_contract_rows(path: Path, rows: Sequence[dict[str, Any]], format: str = "openai") -> DataFile:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return DataFile(path=path, sha256=sha256, format=format, rows=len(rows), bytes=len(content))


def contract_job_token(word: str) -> str:
    """Return a token as the store makes them, the same for the same word."""
    return hashlib.md5(word.encode()).hexdigest()


@dataclass
class Case:
    """One backend, ready to be tried.

    patience:       seconds in which a job ends
    jobs_started:   how many jobs the provider has started, for the promise that no submit starts two
    lose_reply:     makes the provider carry out the next submit without answering
    go_slow:        makes the next job last for seconds, so that it can be caught while it runs
    without_key:    the same backend with no key, and the variable that its error must name
    secret:         what must not show in any text
    unsupported:    calls of what this backend cannot do
    refused:        a hyperparameter that it does not take
    answers_tuned:  whether the tuned model answers `complete`; if not, it must say why with UnsupportedError
    """

    backend: FineTuneBackend
    spec: TuneSpec
    data: PreparedData
    patience: float = 90.0
    poll_seconds: float = 0.02
    jobs_started: Callable[[], int] | None = None
    lose_reply: Callable[[], None] | None = None
    go_slow: Callable[[], None] = lambda: None
    without_key: tuple[FineTuneBackend, str] | None = None
    secret: str | None = None
    unsupported: Sequence[Callable[[FineTuneBackend], object]] = field(
        default_factory=lambda: [lambda backend: backend.deploy("some-model")]
    )
    refused: Hyperparameters | None = None
    answers_tuned: bool = True

    def prepare(self) -> list[RemoteFile]:
        return list(self.backend.prepare(self.spec, self.data))

    def submit(self, word: str = "contract") -> JobState:
        return self.backend.submit(self.spec, self.prepare(), token=contract_job_token(word))

    def wait(self, remote_id: str, until: Callable[[JobState], bool] = lambda state: state.status.terminal) -> JobState:
        """Fetch until `until`; fails when patience is over."""
        end = time.monotonic() + self.patience
        while not until(state := self.backend.fetch(remote_id)):
            assert time.monotonic() < end, f"the job did not get there within {self.patience} s; it is {state}"
            time.sleep(self.poll_seconds)
        return state


class AnsweringContract:
    """The promises of a backend that trains nothing (`no_training` in its manifest): `case.spec.model` answers."""

    @pytest.fixture
    def case(self) -> Case:
        raise NotImplementedError("give the suite a backend: override the fixture `case`")

    def test_answer_is_the_same_whole_and_in_pieces(self, case: Case) -> None:
        asked = [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": QUESTIONS[0][0]}]
        answer = case.backend.answer(case.spec.model, asked, max_tokens=8, temperature=0.0)
        assert answer.text and answer.finish_reason and answer.prompt_tokens and answer.completion_tokens
        assert "".join(case.backend.stream(case.spec.model, asked, max_tokens=8, temperature=0.0)) == answer.text
        many = list(raise_chat_errors(case.backend.complete_many(case.spec.model, [asked, asked], max_tokens=8)))
        assert [each.text for each in many] == [answer.text] * 2
        assert case.spec.model in [model.id for model in case.backend.list_models()]

    def test_training_is_refused(self, case: Case) -> None:
        for call in (case.backend.check, lambda spec: list(case.backend.prepare(spec, case.data))):
            with pytest.raises(UnsupportedError, match=f"{case.backend.name} does not train"):
                call(case.spec)
        with pytest.raises(UnsupportedError, match=case.backend.name):
            case.backend.submit(case.spec, [], token=contract_job_token("refused"))
        assert case.backend.find(contract_job_token("refused")).answer == "absent"

    def test_missing_key_is_named_and_a_key_is_not_shown(self, case: Case) -> None:
        assert case.without_key is not None and case.secret is not None
        with pytest.raises(AuthError, match=case.without_key[1]):
            list(case.without_key[0].list_models())
        with pytest.raises(NotFoundError) as caught:
            case.backend.answer("no-such-model", [{"role": "user", "content": case.secret}])
        assert case.secret not in f"{case.backend!r} {caught.value} {json.dumps(caught.value.as_dict())}"


class BackendContract:
    @pytest.fixture
    def case(self) -> Case:
        raise NotImplementedError("give the suite a backend: override the fixture `case`")

    @pytest.fixture
    def submitted(self, case: Case) -> JobState:
        return case.submit()

    @pytest.fixture
    def finished(self, case: Case, submitted: JobState) -> JobState:
        state = case.wait(submitted.remote_id)
        assert state.status is JobStatus.SUCCEEDED, state
        return state

    # --- files ------------------------------------------------------------------------------------------------------

    def test_prepare_again_reuses_what_is_there(self, case: Case) -> None:
        first, second = case.prepare(), case.prepare()
        assert [file.id for file in first] == [file.id for file in second]
        assert first[0].purpose == "training"
        assert (first[0].sha256, first[0].bytes) == (case.data.training.sha256, case.data.training.bytes)

    # --- from submit to the end -------------------------------------------------------------------------------------

    def test_submitted_job_is_of_the_model_asked_for(self, case: Case, submitted: JobState) -> None:
        assert submitted.remote_id
        assert submitted.raw_status
        assert isinstance(submitted.status, JobStatus)
        assert submitted.model == case.spec.model
        assert not submitted.status.terminal or submitted.status is JobStatus.SUCCEEDED

    def test_succeeded_job_has_a_model_and_no_error(self, finished: JobState) -> None:
        assert finished.tuned_model
        assert finished.error is None
        assert finished.created_at is not None and finished.created_at.tzinfo is not None
        assert finished.finished_at is not None and finished.finished_at.tzinfo is not None
        assert finished.finished_at >= finished.created_at.replace(microsecond=0)

    def test_statuses_are_ours_and_the_words_theirs(self, case: Case) -> None:
        seen: list[JobState] = []
        case.wait(case.submit("words").remote_id, lambda state: seen.append(state) or state.status.terminal)  # type: ignore[func-returns-value]
        for state in seen:
            assert case.backend.statuses[state.raw_status.lower()] is state.status
        assert [state.status.terminal for state in seen] == [False] * (len(seen) - 1) + [True]

    def test_fetch_many_keeps_what_it_can(self, case: Case, submitted: JobState) -> None:
        answers = dict(case.backend.fetch_many([submitted.remote_id, "no-such-job"]))
        assert isinstance(answers[submitted.remote_id], JobState)
        assert isinstance(answers["no-such-job"], NotFoundError)

    def test_unknown_job_is_not_found(self, case: Case) -> None:
        with pytest.raises(NotFoundError, match=case.backend.name):
            case.backend.fetch("no-such-job")

    # --- what became of a submit ------------------------------------------------------------------------------------

    def test_find_knows_the_token(self, case: Case, submitted: JobState) -> None:
        found = case.backend.find(contract_job_token("contract"))
        assert found.answer == "found"
        assert found.state is not None and found.state.remote_id == submitted.remote_id

    def test_find_of_an_unknown_token_is_absent(self, case: Case, submitted: JobState) -> None:
        assert case.backend.find(contract_job_token("never submitted")).answer == "absent"

    def test_lost_reply_is_adopted_and_no_second_job_starts(self, case: Case) -> None:
        if case.lose_reply is None or case.jobs_started is None:
            pytest.skip("this backend is called in this process: it has no reply to lose")
        files, before = case.prepare(), case.jobs_started()
        case.lose_reply()
        with pytest.raises(UnavailableError):
            case.backend.submit(case.spec, files, token=contract_job_token("lost"))
        found = case.backend.find(contract_job_token("lost"))
        assert found.answer == "found" and found.state is not None
        assert case.jobs_started() - before == 1
        assert case.backend.fetch(found.state.remote_id).remote_id == found.state.remote_id

    # --- cancel -----------------------------------------------------------------------------------------------------

    def test_cancel_ends_a_running_job(self, case: Case) -> None:
        case.go_slow()
        remote_id = case.submit("to cancel").remote_id
        answer = case.backend.cancel(remote_id)
        assert answer.status in (JobStatus.CANCELLING, JobStatus.CANCELLED)
        state = case.wait(remote_id)
        assert state.status is JobStatus.CANCELLED
        assert state.tuned_model is None

    def test_cancel_of_a_finished_job_changes_nothing(self, case: Case, finished: JobState) -> None:
        assert case.backend.cancel(finished.remote_id).status is JobStatus.SUCCEEDED
        after = case.backend.fetch(finished.remote_id)
        assert (after.status, after.tuned_model) == (JobStatus.SUCCEEDED, finished.tuned_model)

    def test_cancel_of_an_unknown_job_is_not_found(self, case: Case) -> None:
        with pytest.raises(NotFoundError):
            case.backend.cancel("no-such-job")

    # --- pause ------------------------------------------------------------------------------------------------------

    def test_pause_holds_a_job_until_it_is_resumed(self, case: Case) -> None:
        if not case.backend.supports("pause"):
            with pytest.raises(UnsupportedError, match=case.backend.name):
                case.backend.pause("some-job")
            return
        case.go_slow()
        remote_id = case.submit("to pause").remote_id
        case.wait(remote_id, lambda state: state.status is not JobStatus.VALIDATING)
        assert case.backend.pause(remote_id).status in (JobStatus.PAUSING, JobStatus.PAUSED)
        case.wait(remote_id, lambda state: state.status is JobStatus.PAUSED)
        assert case.backend.fetch(remote_id).status is JobStatus.PAUSED, "asking changes nothing"
        assert case.backend.resume(remote_id).status not in (JobStatus.PAUSING, JobStatus.PAUSED)
        case.wait(remote_id, lambda state: state.status not in (JobStatus.PAUSING, JobStatus.PAUSED))
        assert case.backend.cancel(remote_id).status in (JobStatus.CANCELLING, JobStatus.CANCELLED)

    # --- what a job tells -------------------------------------------------------------------------------------------

    def test_events_are_in_order_and_each_is_told_once(self, case: Case, finished: JobState) -> None:
        events = list(case.backend.events(finished.remote_id))
        assert events
        assert len({event.id for event in events}) == len(events)
        assert [event.created_at for event in events] == sorted(event.created_at for event in events)
        assert all(event.created_at.tzinfo is not None for event in events)
        assert [event.id for event in case.backend.events(finished.remote_id)] == [event.id for event in events]

    def test_events_after_one_are_the_rest(self, case: Case, finished: JobState) -> None:
        events = list(case.backend.events(finished.remote_id))
        for position in (0, len(events) // 2, len(events) - 1):
            rest = list(case.backend.events(finished.remote_id, after=events[position].id))
            assert [event.id for event in rest] == [event.id for event in events[position + 1 :]]

    def test_events_read_while_the_job_runs_are_the_same_as_at_the_end(self, case: Case) -> None:
        remote_id = case.submit("followed").remote_id
        told: list[str] = []

        def follow(state: JobState) -> bool:
            told.extend(event.id for event in case.backend.events(remote_id, after=told[-1] if told else None))
            return state.status.terminal

        case.wait(remote_id, follow)
        told.extend(event.id for event in case.backend.events(remote_id, after=told[-1] if told else None))
        assert told == [event.id for event in case.backend.events(remote_id)]

    def test_metrics_rise_by_step(self, case: Case, finished: JobState) -> None:
        points = list(case.backend.metrics(finished.remote_id))
        assert points
        steps = [point.step for point in points]
        assert steps == sorted(set(steps))
        assert any(point.train_loss is not None for point in points)

    def test_checkpoints_rise_by_step(self, case: Case, finished: JobState) -> None:
        steps = [checkpoint.step for checkpoint in case.backend.checkpoints(finished.remote_id)]
        assert steps and steps == sorted(steps)

    # --- answers ----------------------------------------------------------------------------------------------------

    def test_tuned_model_answers_or_says_why_not(self, case: Case, finished: JobState) -> None:
        assert finished.tuned_model is not None
        question, _ = QUESTIONS[0]
        messages = [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": question}]
        if not case.answers_tuned:
            with pytest.raises(UnsupportedError, match=case.backend.name):
                case.backend.complete(finished.tuned_model, messages, max_tokens=8)
            return
        answer = case.backend.complete(finished.tuned_model, messages, max_tokens=8, temperature=0.0)
        assert isinstance(answer, Completion)
        assert answer.text
        pieces = list(case.backend.complete(finished.tuned_model, messages, stream=True, max_tokens=8, temperature=0.0))
        assert "".join(str(piece) for piece in pieces) == answer.text

    # --- what is refused --------------------------------------------------------------------------------------------

    def test_unsupported_capability_names_the_backend(self, case: Case) -> None:
        for call in case.unsupported:
            with pytest.raises(UnsupportedError, match=case.backend.name):
                call(case.backend)

    def test_hyperparameter_that_it_does_not_take_is_refused(self, case: Case) -> None:
        if case.refused is None:
            pytest.skip("this backend takes every hyperparameter")
        spec = case.spec.model_copy(update={"hyperparameters": case.refused})
        with pytest.raises(UnsupportedError, match=case.backend.name):
            case.backend.check(spec)
        files, before = case.prepare(), case.jobs_started() if case.jobs_started else 0
        with pytest.raises(UnsupportedError, match=case.backend.name) as caught:
            case.backend.submit(spec, files, token=contract_job_token("refused"))
        assert all(name in str(caught.value) for name in case.refused.given())
        assert case.jobs_started is None or case.jobs_started() == before

    def test_check_needs_no_key_and_takes_what_can_run(self, case: Case) -> None:
        backend = case.backend if case.without_key is None else case.without_key[0]
        backend.check(case.spec)
        backend.check(case.spec.model_copy(update={"budget": 5.0}))

    @pytest.mark.parametrize(
        "options",
        [
            {"wandb_key": "hunter2"},
            {"hf_api_token": "hunter2"},
            {"integrations": [{"type": "wandb", "wandb": {"project": "p", "key": "hunter2"}}]},
            {"webhook": "https://me:hunter2@example.com/"},
        ],
    )
    def test_secret_in_the_options_is_refused_before_there_is_a_job(self, case: Case, options: dict[str, Any]) -> None:
        spec = case.spec.model_copy(update={"provider_options": options})
        for call in (case.backend.check, lambda spec: list(case.backend.prepare(spec, case.data))):
            with pytest.raises((ConfigError, UnsupportedError)) as caught:
                call(spec)
            assert "hunter2" not in str(caught.value)

    def test_option_of_unknown_price_is_refused_where_there_is_a_budget(self, case: Case) -> None:
        spec = case.spec.model_copy(update={"budget": 5.0, "provider_options": {"no_such_option": 1}})
        with pytest.raises((BudgetError, ConfigError, UnsupportedError), match="no_such_option"):
            case.backend.check(spec)

    def test_missing_key_is_named(self, case: Case) -> None:
        if case.without_key is None:
            pytest.skip("this backend needs no key")
        backend, variable = case.without_key
        with pytest.raises(AuthError, match=variable):
            backend.fetch("no-such-job")

    def test_no_text_holds_the_key(self, case: Case) -> None:
        with pytest.raises(NotFoundError) as caught:
            case.backend.fetch("no-such-job")
        texts = [repr(case.backend), str(case.backend), str(caught.value), json.dumps(caught.value.as_dict())]
        assert all("\n" not in text for text in texts)
        if case.secret is not None:
            assert not any(case.secret in text for text in texts)
