"""Dedicated endpoints: started once, at a price that is told, asked by the tuned model's name, stopped for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends.together.endpoints import STATES
from tuneport.errors import (
    BudgetError,
    ConfigError,
    ProviderError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import TuneSpec

QUESTION = [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": "Where is my parcel?"}]
ENDPOINTS = "/v2/projects/*/endpoints"
DEPLOYMENTS = "/v2/projects/*/endpoints/*/deployments"


@pytest.fixture
def tuned(together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path) -> tuple[Any, str]:
    """A backend and the name of a tuned model there."""
    data, backend = prepared_chats(tmp_path), connect(together)
    spec = TuneSpec(model="Qwen/Qwen3.5-4B", dataset=data.training.path, suffix="Support_Bot")
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    together.advance(600)
    return backend, backend.fetch(remote_id).tuned_model


def test_from_start_to_stop(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    together.pace = 60
    with pytest.raises(UnsupportedError, match=r"dedicated endpoint, from \$3.99 to \$5.49 an hour and H100.*deploy"):
        backend.complete(model, QUESTION)
    started = backend.deploy(model)
    assert (started.status, started.usd_per_hour, started.model) == ("starting", 3.99, model)
    assert started.details["inactive_timeout_minutes"] == 30, "none runs for ever without being told to"
    assert [part.idle_minutes for part in together.running()] == [30]
    assert {row.idle_stop_minutes for row in backend.manifest.hosting} == {30}, "what prices say of them"
    assert "h100" in started.details["hardware"][0], "the cheapest"
    with pytest.raises(UnsupportedError, match=f"is starting.*undeploy {started.id}"):
        backend.complete(model, QUESTION)
    together.advance(60)
    (listed,) = backend.deployments()
    assert (listed.id, listed.status, listed.model, listed.usd_per_hour) == (started.id, "ready", model, 3.99)
    assert backend.complete(model, QUESTION).text == "tracking"
    assert "".join(backend.complete(model, QUESTION, stream=True)) == "tracking"
    count = len(together.log)
    backend.complete(model, QUESTION)
    assert len(together.log) == count + 1, "the endpoint's name is known by now"
    backend.undeploy(started.id)
    assert (together.running(), list(backend.deployments()), together.endpoints) == ([], [], {})
    backend.undeploy(started.id)
    with pytest.raises(UnsupportedError, match="dedicated endpoint"):
        backend.complete(model, QUESTION)


def test_deploy_again_finds_the_one_there_is(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    job = next(iter(backend.list_jobs())).remote_id
    first, again, by_job = backend.deploy(model), backend.deploy(model), backend.deploy(job)
    assert first.id == again.id == by_job.id
    assert together.deployments_created == 1


def test_deploy_again_changes_what_is_asked_for_and_nothing_else(
    together: TogetherEmulator, tuned: tuple[Any, str]
) -> None:
    backend, model = tuned
    backend.deploy(model, replicas=2, inactive_timeout=60)
    (part,) = together.running()
    again = backend.deploy(model)
    assert (part.replicas, part.idle_minutes) == (2, 60)
    assert (again.usd_per_hour, again.details["inactive_timeout_minutes"]) == (7.98, 60)
    with pytest.raises(BudgetError, match=r"\$11.97"):
        backend.deploy(model, replicas=3, max_usd_per_hour=8)
    with pytest.raises(UnsupportedError, match="runs on 1xnvidia-h100-80gb, not on b200; `tuneport undeploy"):
        backend.deploy(model, hardware="b200")
    assert (part.replicas, together.deployments_created) == (2, 1)
    assert backend.deploy(model, replicas=1, inactive_timeout=0).usd_per_hour == 3.99
    assert (part.replicas, part.idle_minutes) == (1, 0)


def test_idle_endpoint_stops_by_itself_and_starts_again(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    started = backend.deploy(model)
    together.advance(29 * 60)
    backend.complete(model, QUESTION)
    together.advance(29 * 60)
    assert together.running(), "it was asked in between"
    together.advance(60)
    assert together.running() == []
    (listed,) = backend.deployments()
    assert (listed.status, listed.usd_per_hour) == ("stopped", 0.0)
    with pytest.raises(UnsupportedError, match=f"its own, {started.id}, is stopped"):
        backend.complete(model, QUESTION)
    assert backend.deploy(model).id == started.id
    together.advance(60)
    assert backend.complete(model, QUESTION).text == "tracking"
    assert together.deployments_created == 1


def test_price_and_hardware_are_settled_before_money(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    for options, kind, words in (
        ({"max_usd_per_hour": 3.0}, BudgetError, r"costs \$3.99 an hour, more than \$3.00"),
        ({"max_usd_per_hour": 4.0, "replicas": 2}, BudgetError, r"costs \$7.98"),
        ({"hardware": "a100"}, UnsupportedError, r"1xnvidia-h100-80gb \(\$3.99/h\), 1xnvidia-b200-180gb"),
        ({"inactive_timeout": 5}, ConfigError, "30 to 1440 minutes, or 0"),
        ({"replicas": 0}, ConfigError, "replicas is 0"),
        ({"gpu": "h100"}, UnsupportedError, "does not take gpu"),
    ):
        with pytest.raises(kind, match=words):
            backend.deploy(model, **options)
    assert together.endpoints == {}
    dear = backend.deploy(model, hardware="b200", replicas=2, inactive_timeout=0, max_usd_per_hour=20)
    assert dear.usd_per_hour == pytest.approx(17.98)
    assert together.running()[0].idle_minutes == 0


def test_only_what_has_succeeded_can_be_deployed(
    together: TogetherEmulator, tuned: tuple[Any, str], tmp_path: Path
) -> None:
    backend, _ = tuned
    with pytest.raises(UnsupportedError, match="together has no tuned model nobody/knows"):
        backend.deploy("nobody/knows")
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model="Qwen/Qwen3.5-4B", dataset=data.training.path)
    files = list(backend.prepare(spec, data))
    together.pace = 60
    running = backend.submit(spec, files, token=contract_job_token("u")).remote_id
    with pytest.raises(UnsupportedError, match="no tuned model"):
        backend.deploy(running)


def test_all_pages_are_read(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    from tuneport.testing.emulators.together.deployments import EmulatedEndpoint

    backend, model = tuned
    for number in range(5):
        id = f"ep_{number}"
        together.endpoints[id] = EmulatedEndpoint(id, f"by-hand-{number}", together.now())
    mine = backend.deploy(model)
    assert [each.id for each in backend.deployments()] == [*(f"ep_{number}" for number in range(5)), mine.id]
    assert backend.deploy(model).id == mine.id


# --- trouble on the way ----------------------------------------------------------------------------------------------


def test_refused_deployment_leaves_no_endpoint(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    together.fail("status", method="POST", path=DEPLOYMENTS, status=400)
    with pytest.raises(RejectedError):
        backend.deploy(model)
    assert together.endpoints == {}


def test_lost_answer_is_looked_for_and_nothing_runs_twice(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    together.fail("drop_after_accept", method="POST", path=ENDPOINTS)
    together.fail("drop_after_accept", method="POST", path=DEPLOYMENTS)
    started = backend.deploy(model)
    assert (together.deployments_created, len(together.endpoints)) == (1, 1)
    together.advance(60)
    assert backend.complete(model, QUESTION).text == "tracking"
    backend.undeploy(started.id)


def test_call_that_never_arrived_says_how_to_look(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    together.fail("drop", method="POST", path=DEPLOYMENTS)
    with pytest.raises(UnavailableError, match="`tuneport deployments` shows it"):
        backend.deploy(model)
    assert (together.deployments_created, together.running()) == (0, [])
    assert backend.deploy(model).status in ("starting", "ready")
    assert len(together.endpoints) == 1


@pytest.mark.parametrize("status", [503, 429])
def test_server_that_wants_to_be_left_alone_hides_nothing(
    together: TogetherEmulator, tuned: tuple[Any, str], status: int
) -> None:
    backend, model = tuned
    together.fail("status", method="POST", path=DEPLOYMENTS, status=status, headers={"retry-after": "3600"})
    with pytest.raises(ProviderError) as caught:
        backend.deploy(model)
    (id,) = together.endpoints
    unknown = f"whether the deployment started is not known: `tuneport deployments` shows it, `tuneport undeploy {id}`"
    assert (unknown in str(caught.value)) == (status == 503), "a job that was refused for its number has not started"
    assert caught.value.__context__ is None or "left alone" not in str(caught.value)


def test_endpoint_that_cannot_be_routed_is_stopped(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    together.fail("status", method="PATCH", path="/v2/projects/*/endpoints/*", status=400)
    with pytest.raises(RejectedError):
        backend.deploy(model)
    assert together.running() == [] and together.endpoints == {}


def test_stop_goes_on_where_an_earlier_one_failed(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, model = tuned
    started = backend.deploy(model)
    together.fail("status", method="DELETE", path="/v2/projects/*/endpoints/*", status=400)
    with pytest.raises(RejectedError):
        backend.undeploy(started.id)
    assert together.running() == [], "the money stops first"
    backend.undeploy(started.id)
    assert together.endpoints == {}


def test_key_that_sees_no_endpoints_still_says_what_is_needed(
    together: TogetherEmulator, tuned: tuple[Any, str]
) -> None:
    backend, model = tuned
    together.fail("status", path="/v3/whoami", status=403, times=None)
    with pytest.raises(UnsupportedError, match="dedicated endpoint"):
        backend.complete(model, QUESTION)


def test_project_of_the_environment_comes_first(together: TogetherEmulator, tuned: tuple[Any, str]) -> None:
    backend, _ = tuned
    from pydantic import SecretStr

    environment = backend.settings.environment | {"TOGETHER_PROJECT_ID": SecretStr("proj_mine")}
    backend.settings = backend.settings.model_copy(update={"environment": environment})
    assert list(backend.deployments()) == []
    assert together.log[-1].path == "/v2/projects/proj_mine/endpoints"
    assert not [item for item in together.log if item.path == "/v3/whoami"]


def test_every_state_word_of_the_sdk_is_in_the_table() -> None:
    from typing import get_args

    from together.types.deployment_status import DeploymentStatus
    from together.types.endpoint_deployment_summary import EndpointDeploymentSummary

    for model in (DeploymentStatus, EndpointDeploymentSummary):
        assert set(get_args(model.model_fields["state"].annotation)) == set(STATES)
