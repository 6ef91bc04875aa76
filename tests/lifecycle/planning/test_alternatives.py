"""The same job elsewhere is the same job: its command says all that a command can, and names what it cannot."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support.workspaces import write_chats
from tuneport.errors import RejectedError
from tuneport.lifecycle.planning.alternatives import JobAlternative, explain_job_alternatives, rank_job_alternatives
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService, describe_job
from tuneport.lifecycle.submitting.flags import build_submit_command
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Hyperparameters, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def row(workspace: JobService, tmp_path: Path) -> JobRow:
    """A job of OpenAI's with all that a spec may have."""
    table = tmp_path / "table.csv"
    table.write_text("question,answer\n" + "".join(f"ask {number},reply {number}\n" for number in range(20)))
    spec = TuneSpec(model=MODEL, dataset=table, columns={"instruction": "question", "output": "answer"})
    prepared = workspace.submit(spec.model_copy(update={"model": "base"}), backend="fake").prepared_data
    full = TuneSpec.model_validate(
        spec.model_dump()
        | {
            "wandb": {"project": "bots", "entity": "us"},
            "metadata": {"ticket": "7"},
            "provider_options": {"n_evals": 2},
        }
    )
    return workspace.store.jobs.add(
        full, prepared, backend="openai", model=MODEL, quote=None, options=JobOptions(delete_files=True)
    )


def found(workspace: JobService, row: JobRow, backend: str) -> JobAlternative:
    return next(each for each in rank_job_alternatives(row, workspace.settings) if each.backend == backend)


def test_the_command_says_all_of_the_job_and_names_what_it_leaves_out(workspace: JobService, row: JobRow) -> None:
    together = found(workspace, row, "together")
    words = shlex.split(together.command)
    for option in ("--map instruction=question", "--map output=answer", "--metadata ticket=7"):
        first, second = option.split()
        assert (first, second) in zip(words, words[1:], strict=False)
    assert json.loads(words[words.index("--wandb") + 1]) == {"project": "bots", "entity": "us"}
    assert words[-1] == "--delete-files" and "--option" not in words
    assert together.dropped == ("provider_options.n_evals",)
    assert "without provider_options.n_evals" in str(together)
    assert together.as_dict()["dropped"] == list(together.dropped)
    local = found(workspace, row, "local")
    assert "--wandb" in local.command and local.dropped == together.dropped


def test_a_grader_has_a_place_and_values_are_json(tmp_path: Path) -> None:
    spec = TuneSpec.model_validate({"model": "m", "dataset": tmp_path / "a.jsonl", "method": "rft", "grader": {"a": 1}})
    assert "--method rft --grader GRADER.json" in build_submit_command(spec, JobOptions(), backend="azure")
    numbers = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=2, learning_rate=1e-5)})
    assert "--set epochs=2 --set learning_rate=1e-05" in build_submit_command(numbers, JobOptions(), backend="azure")


def test_weights_that_are_there_bind_a_job_to_its_backend(
    workspace: JobService, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIEmulator() as openai:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", openai.key)
        body = {"error": {"message": "closed", "type": "invalid_request_error", "code": "training_not_available"}}
        openai.fail("status", status=403, method="POST", path="/fine_tuning/jobs", body=body)
        dataset = write_chats(isolated / "train.jsonl")
        with JobService() as opened:
            spec = TuneSpec(model=MODEL, dataset=dataset, from_checkpoint="ft:gpt-4.1-mini-2025-04-14:acme::abc")
            job = opened.start(opened.submit(spec, backend="openai").id)
    assert job.status == "failed" and job.job_error is not None and job.job_error.details == {}
    assert "the weights that it continues from are at openai" in job.job_error.message
    assert "run the same job elsewhere" not in job.job_error.message


def test_nothing_to_say_changes_no_message() -> None:
    assert explain_job_alternatives(str(RejectedError("no", provider="p")), []) == "no"


def test_the_document_has_all_of_the_spec(row: JobRow) -> None:
    document = describe_job(row)
    assert document["columns"] == {"instruction": "question", "output": "answer"} and document["grader"] is None
    assert document["wandb"] == {"project": "bots", "name": None, "entity": "us", "tags": []}
    assert document["metadata"] == {"ticket": "7"} and document["provider_options"] == {"n_evals": 2}
    assert document["from_checkpoint"] is None
