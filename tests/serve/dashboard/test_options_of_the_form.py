"""The form of a new job has the options of the command line, and the job's page says which terms apply."""

from __future__ import annotations

import re

import pytest

from tests.serve.dashboard.conftest import Dashboard
from tests.serve.dashboard.test_new_job import TRAIN, finished, uploaded
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.serve.dashboard import new_job
from tuneport.serve.http.errors import Refusal
from tuneport.serve.jobs.job_maker import make_jobs_of_requests
from tuneport.types import Hyperparameters, TuneSpec

MODEL = "smollm2-135m-instruct"
LEFT_OUT = {
    "columns": "the page reports on the file by its own columns",
    "format": "the page reports on the file by the format that its rows show",
    "system": "the page reports on the rows as they are in the file",
    "template": "the page reports on the rows as they are in the file",
    "ignored_columns": "the page reports on the file by its own columns",
    "keep_unliked": "the page trains on marked answers by the method made for them",
    "inline_images": "reads files of the operator's machine",
    "grader": "data that is graded is sent to `tuneport submit`",
    "reward": "data that is graded is sent to `tuneport submit`",
    "reward_folder": "names a folder with code on the operator's machine",
    "allow_personal_data": "the operator answers for it: tuneport serve --allow-personal-data",
    "anyway": "the page shows what the checks say above its button",
    "again": "the page makes one job of two clicks",
}
ASKED_AS = {"dataset": "once", "model": "choice", "epochs": "n_epochs"}
"""The dataset is the page's own; `once` makes two clicks one job."""


def test_true_and_false_are_read_for_what_takes_them_only() -> None:
    assert new_job._hyperparameter("packing", "packing", "False") is False
    assert new_job._hyperparameter("packing", "packing", "auto") == "auto"
    with pytest.raises(Refusal, match="a whole number"):
        new_job._hyperparameter("epochs", "n_epochs", "true")


@pytest.mark.full  # the page compares costs first
def test_the_form_has_every_option_and_the_job_says_its_terms(dashboard: Dashboard) -> None:
    path = uploaded(dashboard, TRAIN.read_bytes()).headers["location"]
    held_out = uploaded(dashboard, TRAIN.read_bytes()[:10_000].rpartition(b"\n")[0], to=f"{path}/validation")
    place = f"{held_out.headers['location']}&model={MODEL}"
    page = finished(dashboard, place)
    inputs = [given for tag, given in page.tags if tag in ("input", "select", "textarea")]
    names = {str(given["name"]) for given in inputs if "name" in given}
    fields = {*TuneSpec.model_fields, *Hyperparameters.model_fields, *JobOptions.model_fields} - {"hyperparameters"}
    assert {ASKED_AS.get(name, name) for name in fields - set(LEFT_OUT)} <= names
    assert not names & set(LEFT_OUT)
    wishes = {
        "choice": f"local/{MODEL}",
        "validation": re.search(r"validation=([\w-]+)", place)[1],  # type: ignore[index]
        "n_epochs": "2",
        "lora_rank": "4",
        "adapter": "lora",
        "metadata": "ticket=7\nteam=a=b",
        "provider_options": "early_stopping=2",
        "budget": "3",
        "delete_files": "no",
        "stop_on_overfit": "yes",
    }
    answer = dashboard.post(path, csrf=dashboard.token(place), **wishes)
    assert answer.status_code == 303, answer.text
    job_id = answer.headers["location"].removeprefix("/jobs/")
    make_jobs_of_requests(dashboard.gateway)
    row = dashboard.gateway.unscoped.store.jobs.by_ids([job_id]).get(job_id)
    assert row is not None, dashboard.gateway.unscoped.store.requests.get(job_id).error  # type: ignore[union-attr]
    spec = row.tune_spec
    assert spec.hyperparameters.given() == {"epochs": 2, "lora_rank": 4} and spec.adapter == "lora"
    assert spec.metadata == {"ticket": "7", "team": "a=b"} and spec.provider_options == {"early_stopping": 2}
    assert spec.budget == 3 and row.job_options == JobOptions(delete_files=False, stop_on_overfit=True)
    terms = dashboard.client.get(f"/tuneport/v1/jobs/{job_id}").json()["terms"]
    shown = dashboard.get(f"/jobs/{job_id}").text
    assert terms and all(term["text"] in shown and term["url"] in shown for term in terms)
    told = [event for _, event in dashboard.gateway.unscoped.events(job_id) if event.type == "terms"]
    assert len(told) == len(terms)
    for wrong, message in (({"validation": ""}, "needs a"), ({"lora_rank": "x"}, "lora_rank")):
        refused = dashboard.post(path, csrf=dashboard.token(place), **(wishes | wrong))
        assert refused.status_code == 400 and message in refused.text
    more = dashboard.post(path, csrf=dashboard.token(place), **wishes, allow_personal_data="yes")
    request = dashboard.gateway.unscoped.store.requests.get(more.headers["location"].removeprefix("/jobs/"))
    assert request is not None and "allow_personal_data" not in str(request.body), "that is the operator's"
