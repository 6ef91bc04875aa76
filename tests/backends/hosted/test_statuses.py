"""Every status word that the installed SDKs know has exactly one meaning here."""

from __future__ import annotations

import ast
import inspect
from typing import get_args

import pytest

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted.statuses import parse_provider_status
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import STAGES
from tuneport.types import JobStatus


def openai_words() -> list[str]:
    from openai.types.fine_tuning import FineTuningJob

    return list(get_args(FineTuningJob.model_fields["status"].annotation))


def together_words() -> list[str]:
    from together.types.fine_tuning_cancel_response import FineTuningCancelResponse

    return list(get_args(FineTuningCancelResponse.model_fields["status"].annotation))


def together_words_of_create() -> list[str]:
    from together.lib.types.fine_tuning import FinetuneJobStatus

    return [status.value for status in FinetuneJobStatus]


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (OpenAIBackend, openai_words),
        (TogetherBackend, together_words),
        (TogetherBackend, together_words_of_create),
        (FakeBackend, lambda: [word for word, _ in STAGES]),
    ],
)
def test_every_word_of_the_sdk_is_in_the_table(backend: type[FineTuneBackend], words: object) -> None:
    listed = words()  # type: ignore[operator]
    assert len(listed) >= 6
    assert set(listed) - set(backend.statuses) == set()


@pytest.mark.parametrize("backend", [OpenAIBackend, TogetherBackend, FakeBackend])
def test_no_word_is_in_the_table_twice(backend: type[FineTuneBackend]) -> None:
    """A dictionary would swallow the first of two equal keys, so the source is asked."""
    (table,) = [
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(backend))))  # type: ignore[arg-type]
        if isinstance(node, ast.AnnAssign)
        and ast.unparse(node.target) == "statuses"
        and isinstance(node.value, ast.Dict)
    ]
    written = [ast.literal_eval(key) for key in table.keys if key is not None]
    assert sorted(written) == sorted(set(written))
    assert all(word == word.lower() for word in written), "words are looked up in lower case"
    assert set(written) == set(backend.statuses)


# Which of a provider's words means what, by its own pages (Azure's words are from users' reports).
MEANINGS = {
    OpenAIBackend: {
        JobStatus.VALIDATING: {"validating_files", "created"},
        JobStatus.QUEUED: {"queued", "pending", "notrunning", "resuming"},
        JobStatus.RUNNING: {"running"},
        JobStatus.PAUSING: {"pausing"},
        JobStatus.PAUSED: {"paused"},
        JobStatus.CANCELLING: {"cancelling"},
        JobStatus.SUCCEEDED: {"succeeded"},
        JobStatus.FAILED: {"failed"},
        JobStatus.CANCELLED: {"cancelled", "canceled"},
    },
    TogetherBackend: {
        JobStatus.QUEUED: {"pending", "queued"},
        JobStatus.RUNNING: {"running"},
        JobStatus.FINALIZING: {"compressing", "uploading"},
        JobStatus.CANCELLING: {"cancel_requested"},
        JobStatus.SUCCEEDED: {"completed"},
        JobStatus.FAILED: {"error", "user_error"},
        JobStatus.CANCELLED: {"cancelled"},
    },
}


@pytest.mark.parametrize("backend", MEANINGS)
def test_each_word_means_what_the_provider_says(backend: type[FineTuneBackend]) -> None:
    """A word that is new in a table needs its meaning here, too: a table may be complete and wrong."""
    by_meaning: dict[JobStatus, set[str]] = {}
    for word, status in backend.statuses.items():
        by_meaning.setdefault(status, set()).add(word)
    assert by_meaning == MEANINGS[backend]  # type: ignore[index]


@pytest.mark.parametrize("backend", [OpenAIBackend, TogetherBackend, FakeBackend, LocalBackend])
def test_every_backend_can_tell_each_end(backend: type[FineTuneBackend]) -> None:
    assert {status for status in backend.statuses.values() if status.terminal} == {
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    }


@pytest.mark.parametrize("word", ["expired", "stopping", "EXPIRED", "", " running", "succeeded ", "unknown"])
@pytest.mark.parametrize("backend", [OpenAIBackend, TogetherBackend, FakeBackend, LocalBackend])
def test_word_that_nobody_knows_is_neither_queued_nor_an_end(backend: type[FineTuneBackend], word: str) -> None:
    """litellm 1.110.2 reads EXPIRED as queued, Portkey 669825c Bedrock's Stopping as cancelled."""
    assert parse_provider_status("somebody", backend.statuses, word) is JobStatus.RUNNING


def test_words_are_compared_whatever_their_case() -> None:
    assert parse_provider_status("openai", OpenAIBackend.statuses, "Succeeded") is JobStatus.SUCCEEDED
    assert parse_provider_status("openai", OpenAIBackend.statuses, "notRunning") is JobStatus.QUEUED


def test_only_the_three_ends_are_terminal() -> None:
    assert not OpenAIBackend.statuses["cancelling"].terminal
    assert not TogetherBackend.statuses["cancel_requested"].terminal
    assert {status for status in JobStatus if status.terminal} == {
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    }
