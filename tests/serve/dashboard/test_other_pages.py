"""Comparison, chat, models and backends, as HTML; and a tuned model's weights as one file."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.serve.dashboard.conftest import HOSTILE, Dashboard, Document
from tests.support.document import hostile_holes
from tests.support.folders import FIXTURES
from tuneport.serve.dashboard.archive import stream_dashboard_tar
from tuneport.serve.dashboard.curves import draw_dashboard_charts
from tuneport.types import MetricPoint


def test_jobs_side_by_side(dashboard: Dashboard) -> None:
    one, other, waiting = dashboard.job(suffix="one"), dashboard.job(5, suffix=HOSTILE), dashboard.job(0)
    page = dashboard.get(f"/compare?job={one}&job={other}&job={waiting}&job=job-none&job={one}")
    assert page.text.count("Training loss") == 1 and "Validation loss" not in page.text
    lines = [given for tag, given in page.tags if tag == "path" and (given.get("class") or "").startswith("line s")]
    assert len(lines) == 4, "a line a job, and its key"
    assert "0.2353" in page.text and "0.4802" in page.text and "<script>alert(1)" in page.text
    assert "Nothing to compare yet." in dashboard.get("/compare").text
    dashboard.get("/compare?" + "&".join(f"job=job-{number}" for number in range(7)), status=400)


def test_both_models_answer_the_same_prompt(dashboard: Dashboard) -> None:
    assert "No tuned model yet." in dashboard.get("/chat").text
    job = dashboard.job(suffix="triage")
    token = dashboard.token(f"/chat?job={job}")
    asked = {"job": job, "prompt": "q 7", "system": HOSTILE, "max_tokens": "20"}
    page = dashboard.post("/chat", csrf=token, **asked)
    assert "a 7" in page.text and "I am any-model" in page.text and "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert(1)" not in page.text
    lines = dashboard.post("/chat/tuned", csrf=token, **asked).text.splitlines()
    assert json.loads(lines[0])["model"].endswith("on fake")
    assert "".join(json.loads(line)["text"] for line in lines[1:]) == "a 7"
    for wrong in ({"prompt": " "}, {"max_tokens": "many"}, {"job": "job-none"}):
        assert dashboard.post("/chat/base", csrf=token, **asked | wrong).status_code in (400, 404)
    assert dashboard.post("/chat/base", csrf="", **asked).status_code == 403
    dashboard.gateway.unscoped.delete(job)
    assert "was deleted" in dashboard.post("/chat", csrf=token, **asked).text


def test_no_hole_of_a_page_lets_markup_in(dashboard: Dashboard) -> None:
    done, running = dashboard.job(suffix="one"), dashboard.job(4, metadata={"a": "b"})
    paths = ["/", f"/jobs/{done}", f"/jobs/{running}", f"/compare?job={done}&job={running}", f"/chat?job={done}"]
    for path in [*paths, "/models", "/backends", "/new", "/jobs/none"]:
        plain = dashboard.client.get(path).text
        with hostile_holes():
            changed = dashboard.client.get(path).text
        assert changed.count("&lt;script&gt;") > 3, path
        shapes = [[(tag, list(given)) for tag, given in Document(page).tags] for page in (plain, changed)]
        assert shapes[0] == shapes[1], path


def test_models_and_their_last_days(dashboard: Dashboard) -> None:
    job = dashboard.job(suffix="triage")
    page = dashboard.get("/models")
    assert "triage" in page.text and f"/chat?job={job}" in page.links
    assert "No new jobs from 2027-01-06 on." in page.text and "gpt-4.1-mini-2025-04-14" in page.text
    assert "$5.00/M" in page.text and "$0.80/$3.20" in page.text and "16.4 GB to get" in page.text


def test_backends_never_show_a_key(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    page = dashboard.get("/backends")
    assert "OPENAI_API_KEY is not set" in page.text and "TOGETHER_API_KEY is not set" in page.text
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    from tuneport.settings import Settings

    dashboard.gateway.settings = Settings.load()
    page = dashboard.get("/backends")
    assert "OPENAI_API_KEY is set" in page.text and "sk-secret" not in page.text


def test_a_folder_is_sent_as_a_tar_file_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "temporary" / "weights"
    (folder / "deep").mkdir(parents=True)
    files = {"adapter.bin": b"\x01" * 1_300_000, "deep/config.json": b"{}", "empty": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sent = BytesIO(b"".join(stream_dashboard_tar(folder, "job-1", folder.parent)))
    with tarfile.open(fileobj=sent) as tar:
        there = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    assert there == {f"job-1/{name}": content for name, content in files.items()}
    assert not folder.parent.exists()


def test_very_many_points_are_smoothed_and_no_spike_is_lost() -> None:
    points = [MetricPoint(step=step, train_loss=9.0 if step == 54_321 else 1.0) for step in range(1, 100_001)]
    (drawn,) = draw_dashboard_charts([*points, MetricPoint(step=100_001, train_loss=float("nan"))])
    assert len(drawn.chart) < 30_000 and drawn.chart.count("L") < 900
    around, mean = (
        [float(pair.split()[1]) for pair in path.split('"')[0].strip("MZ").split(" L")]
        for path in str(drawn.chart).split(' d="')[1:3]
    )
    assert around.count(min(around)) == 1 and min(around) < min(mean), "the one spike, around the line"
    assert (
        draw_dashboard_charts([]) == []
        and len(draw_dashboard_charts([MetricPoint(step=1, train_loss=0.0, learning_rate=1e-4)])) == 2
    )


def test_a_job_whose_curve_turns_says_so_and_marks_its_best_step(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points of a real run that overfits."""
    told = json.loads((FIXTURES / "curves" / "overfit-alpaca-30x30.json").read_text())
    points = [MetricPoint.model_validate(point) for point in told["points"]]
    fake = dashboard.gateway.unscoped.backend("fake")
    monkeypatch.setattr(fake, "metrics", lambda remote_id: points)
    job = dashboard.job()
    page = dashboard.get(f"/jobs/{job}")
    assert "Overfitting." in page.text and "What helps: take the checkpoint of step 12" in page.text
    assert "lowest validation loss: 1.5" in page.text and "at step 12" in page.text
    assert len([tag for tag, given in page.tags if tag == "circle" and given.get("class") == "mark"]) == 1
    assert "overfitting" in dashboard.get(f"/compare?job={job}").text


def test_the_form_for_a_token(dashboard: Dashboard) -> None:
    page = dashboard.get("/login?wrong=1&next=/jobs/x%22%3E")
    assert "This token is not known." in page.text and "Log out" not in page.text
    fields = {given["name"]: given for tag, given in page.tags if tag == "input"}
    assert fields["next"]["value"] == '/jobs/x">' and fields["token"]["type"] == "password"
