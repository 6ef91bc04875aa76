"""The mailbox of a Ray job: numbered messages, the last checkpoints, and when it is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuneport.train.ray.messages import MESSAGES_PER_FILE, STARTS_WITHOUT_PROGRESS, RayMailbox, ray_messages_name


def told(mailbox: RayMailbox) -> list[dict[str, Any]]:
    files = sorted(mailbox.folder.glob("messages-*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def checkpoint(mailbox: RayMailbox, step: int) -> None:
    what = f"checkpoint-{step}"
    mailbox.write(what, 0, b"weights")
    mailbox.post("checkpoint", {"what": what, "step": step, "pieces": 1})


def test_messages_are_numbered_and_in_files_of_bounded_length(tmp_path: Path) -> None:
    mailbox = RayMailbox(str(tmp_path / "box"), {"notes": []})
    for step in range(MESSAGES_PER_FILE + 5):
        mailbox.post("metric", {"point": {"step": step}})
    assert [message["number"] for message in told(mailbox)] == list(range(MESSAGES_PER_FILE + 5))
    assert len((mailbox.folder / ray_messages_name(1)).read_text().splitlines()) == 5


def test_two_checkpoints_are_kept_and_the_newest_is_where_to_go_on(tmp_path: Path) -> None:
    mailbox = RayMailbox(str(tmp_path / "box"), {})
    assert mailbox.begin()["checkpoint"] is None
    for step in (4, 8, 12):
        checkpoint(mailbox, step)
    start = mailbox.begin()
    assert start["again"] and start["checkpoint"]["step"] == 12
    assert sorted(path.name for path in mailbox.folder.glob("checkpoint*")) == [
        "checkpoint-12.0000",
        "checkpoint-8.0000",
    ]
    assert mailbox.read("checkpoint-12", 0) == b"weights"


def test_starts_without_progress_end_the_run(tmp_path: Path) -> None:
    mailbox = RayMailbox(str(tmp_path / "box"), {})
    for _ in range(STARTS_WITHOUT_PROGRESS):
        assert not mailbox.begin()["failed"]
    checkpoint(mailbox, 4)  # progress: counted anew
    for _ in range(STARTS_WITHOUT_PROGRESS - 1):
        assert not mailbox.begin()["failed"]
    assert mailbox.begin()["failed"]
    (failure,) = (message for message in told(mailbox) if message["kind"] == "failed")
    assert failure["error"]["code"] == "process_died"


def test_the_first_word_on_a_failure_counts(tmp_path: Path) -> None:
    mailbox = RayMailbox(str(tmp_path / "box"), {})
    mailbox.fail({"code": "invalid_training_file"})
    mailbox.fail({"code": "training_failed"})
    assert [m["error"]["code"] for m in told(mailbox) if m["kind"] == "failed"] == ["invalid_training_file"]
    assert mailbox.begin()["failed"]
