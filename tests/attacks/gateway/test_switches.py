"""What the operator opens to clients: off by default, by name, said at start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.gateway.conftest import TINY, Target
from tests.attacks.gateway.generated import CODE, Attack
from tuneport.cli.commands.serve import _describe_client_options, apply_client_options
from tuneport.errors import ConfigError
from tuneport.serve.permitted import list_gateway_client_options
from tuneport.settings import Settings


def with_options(isolated: Path, *names: str) -> None:
    listed = ", ".join(f'"{name}"' for name in names)
    (isolated / "tuneport.toml").write_text(f"[gateway]\nclient_options = [{listed}]\n")


def ask(here: Target, **more: Any) -> tuple[int, str]:
    body = {"model": TINY, "backend": "local", "training_file": here.file_id, "method": "sft"} | more
    told = here.send(Attack("", "POST", "/tuneport/v1/jobs", body))
    return told.status, "" if told.status == 200 else str(told.error["param"])


def test_what_is_opened_is_taken_and_the_rest_of_its_table_is_not(
    target: Callable[..., Target], isolated: Path
) -> None:
    with_options(isolated, "slurm.partition", "allow_oversize")
    here = target()
    assert ask(here, provider_options={"slurm": {"partition": "a"}, "allow_oversize": True}) == (200, "")
    told = ask(here, provider_options={"slurm": {"partition": "a", "setup": ["id"]}})
    assert told == (400, "provider_options.slurm.setup")
    assert ask(here, provider_options={"slurm": {"partition": [1]}})[0] == 400, "the backend still judges the value"


def test_python_graders_where_the_operator_lets_clients_send_them(
    target: Callable[..., Target], isolated: Path, tmp_path: Path
) -> None:
    """Whether and how one runs is the backend's matter; the option that once ran it unconfined stays shut."""
    with_options(isolated, "python_graders")
    here = target()
    grader = {"type": "python", "name": "g", "source": CODE.format(mark=str(tmp_path / "mark"))}
    body = {"model": TINY, "backend": "local", "training_file": here.file_id, "method": "rft", "grader": grader}
    told = here.send(Attack("", "POST", "/tuneport/v1/jobs", body))
    assert told.status == 200 or told.error["code"] != "operator_only", told.text
    option = ask(here, method="rft", grader=grader, provider_options={"run_grader_code": True})
    assert option == (400, "provider_options.run_grader_code")


def test_a_model_of_the_hub_where_the_operator_lets_clients_name_them(
    target: Callable[..., Target], isolated: Path, tmp_path: Path
) -> None:
    with_options(isolated, "hub_models")
    here = target()
    body = {"model": "them/never-heard-of", "backend": "local", "training_file": here.file_id, "method": "sft"}
    told = here.send(Attack("", "POST", "/tuneport/v1/jobs", body))
    assert told.status == 400 and "weights of them/never-heard-of are not on this machine" in told.text, "may be named"
    assert ask(here, model=f"local/{tmp_path}") == (400, "model"), "still no folder"


def test_a_parameter_of_a_server_of_ones_own(isolated: Path) -> None:
    with_options(isolated, "chat.guided_regex", "request.priority")
    assert set(list_gateway_client_options(Settings.load())) == {"chat.guided_regex", "request.priority"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trust_remote_code", "cannot be opened"),
        ("run_grader_code", "cannot be opened"),
        ("wandb_base_url", "cannot be opened"),
        ("slurm", "slurm.partition"),
        ("generations", "anyway"),
        ("colour", "there is no option 'colour'"),
        ("chat.self", "there is no option"),
    ],
)
def test_a_name_that_opens_nothing_stops_the_gateway(isolated: Path, name: str, said: str) -> None:
    with_options(isolated, name)
    with pytest.raises(ConfigError, match=said):
        list_gateway_client_options(Settings.load())


def test_it_is_off_by_default_and_said_at_start(isolated: Path) -> None:
    assert list_gateway_client_options(Settings.load()) == {}
    assert "numbers of training only" in _describe_client_options({})
    told = _describe_client_options(
        list_gateway_client_options(apply_client_options(Settings.load(), ["python_graders", "slurm.setup"]))
    )
    assert "python_graders: sends Python code" in told and "slurm.setup: runs shell commands" in told
