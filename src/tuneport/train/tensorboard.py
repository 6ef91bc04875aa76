"""TensorBoard's events of a run, in `tensorboard/`: one curve, however often the run was interrupted."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from transformers.integrations import TensorBoardCallback


def tensorboard(folder: Path, after: int) -> Any:
    """A callback that adds to what is in `folder`, less what lies behind step `after` and will be measured again."""
    for path in folder.glob("*tfevents*"):
        _forget_after(path, after)
    own = f".{os.getpid()}.{os.urandom(4).hex()}"  # else two that begin within a second would have one name
    return TensorBoardCallback(SummaryWriter(log_dir=str(folder), filename_suffix=own))


def events(path: Path) -> Iterator[tuple[bytes, Event]]:
    """The records of an event file as they are and as they read, up to one that a kill cut off.

    A record (TFRecord) is its length (8 bytes), a checksum of that (4), the event, and a checksum of it (4).
    """
    content, at = path.read_bytes(), 0
    while at + 12 <= len(content):
        end = at + 12 + int(struct.unpack_from("<Q", content, at)[0]) + 4
        if end > len(content):
            return
        yield content[at:end], Event.FromString(content[at + 12 : end - 4])
        at = end


def _forget_after(path: Path, step: int) -> None:
    kept = [raw for raw, event in events(path) if event.step <= step]
    aside = path.with_name(f".{path.name}.writing")
    aside.write_bytes(b"".join(kept))
    os.replace(aside, path)
