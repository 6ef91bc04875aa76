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

from tuneport.files import write_atomically


def tensorboard_callback(folder: Path, after: int) -> Any:
    """Return a callback that adds to the events in `folder`, without those behind step `after`, which will be measured
    again."""
    earlier = list(folder.glob("*tfevents*"))
    for path in earlier:
        _forget_after(path, after)
    # TensorBoard reads files in the order of their names, which have the second: the count orders those of one second.
    own = f".{len(earlier):04}.{os.getpid()}.{os.urandom(4).hex()}"
    return TensorBoardCallback(SummaryWriter(log_dir=str(folder), filename_suffix=own))


def read_tensorboard_events(path: Path) -> Iterator[tuple[bytes, Event]]:
    """Yield the raw and the parsed records of an event file, up to one that a kill cut off.

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
    kept = [raw for raw, event in read_tensorboard_events(path) if event.step <= step]
    write_atomically(path, b"".join(kept), durable=False)
