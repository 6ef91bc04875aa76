"""The probe: what is kept of it, when it counts, and that the real one trains."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import tiny_model
from tests.support.workspaces import write_chats
from tuneport.errors import ConfigError
from tuneport.lifecycle.planning.cpu_probe import StoredCPUProbe, read_stored_cpu_probe, run_cpu_probe
from tuneport.lifecycle.planning.planning import plan_job_machine
from tuneport.router import Machine
from tuneport.settings import Settings
from tuneport.types import now
from tuneport.workflows.plan import plan

KEPT: dict[str, Any] = {
    "device": "a CPU, 2 cores", "measured_at": datetime(2026, 11, 26, tzinfo=UTC), "model": "m", "params_b": 0.1345,
    "tokens_per_second": 500.0, "precision": "bf16", "threads": 2, "steps": 4, "seconds": 5.0,
}  # fmt: skip


def keep(settings: Settings, **values: Any) -> StoredCPUProbe:
    probe = StoredCPUProbe.model_validate(KEPT | values)
    (settings.home / "probe.json").write_text(probe.model_dump_json())
    return probe


def test_a_probe_counts_on_the_processor_that_it_measured(settings: Settings) -> None:
    machine = plan_job_machine(settings)
    assert machine.cpu_rate is None
    probe = keep(settings)
    assert (
        plan_job_machine(settings).cpu_rate is None and read_stored_cpu_probe(settings.home, "a CPU, 2 cores") == probe
    )
    here = keep(settings, device=machine.device)
    assert plan_job_machine(settings).cpu_rate == here.rate
    (settings.home / "probe.json").write_text("{")
    assert plan_job_machine(settings).cpu_rate is None


def test_a_machine_that_was_busy_is_said_to_have_been(settings: Settings) -> None:
    assert keep(settings).rate.words == "measured here on 2026-11-26 with 134.5 M parameters in bf16"
    assert not keep(settings, load=0.9, cores=2).busy
    busy = keep(settings, load=1.5, cores=2)
    assert busy.busy and busy.rate.words.endswith("in bf16, while the machine was busy: load 1.5 of 2 cores")


def test_a_plan_takes_the_probed_rate_and_says_so(settings: Settings, isolated: Path) -> None:
    machine = plan_job_machine(settings)
    if machine.gpu:
        pytest.skip("this machine trains on a GPU")
    asked = {"model": "smollm2-135m-instruct", "settings": settings}
    data = write_chats(isolated / "train.jsonl")
    documented = plan(data, **asked).here
    keep(settings, device=machine.device, tokens_per_second=600.0)
    probed = plan(data, **asked).here
    assert documented.expected_seconds is not None and probed.expected_seconds is not None
    assert probed.expected_seconds == pytest.approx(documented.expected_seconds / 2)
    assert "measured here on 2026-11-26" in probed.explanation and "measured here" not in documented.explanation
    larger = plan(data, **asked | {"model": "smollm2-360m-instruct"}).here
    assert larger.expected_seconds == pytest.approx(probed.expected_seconds * 0.3618 / 0.1345)
    assert larger.explanation.endswith("scaled by size")


def test_a_gpu_is_not_probed(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="trains on its A100 80GB, and --probe measures processors"):
        run_cpu_probe(settings, Machine(gpu="A100 80GB", bf16_tflops=312.0))


def test_a_child_that_fails_is_told_in_one_line_and_keeps_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="^the probe failed: it said nothing; plan without --probe$"):
        run_cpu_probe(settings, Machine(device="this one"))
    assert read_stored_cpu_probe(settings.home, "this one") is None


@pytest.mark.full
def test_the_real_probe_trains_the_model_s_own_weights_and_is_kept(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")
    model = tiny_model(tmp_path / "model")
    machine = Machine(device="this one")
    probe = run_cpu_probe(settings, machine, str(model))
    assert probe.model == str(model) and read_stored_cpu_probe(settings.home, "this one") == probe
    assert 0 < probe.params_b < 0.001 and probe.steps >= 2 and probe.seconds >= 4.0
    assert probe.tokens_per_second == pytest.approx(probe.steps * 8 * 128 / probe.seconds)
    assert now() - probe.measured_at < timedelta(minutes=1)
