"""Signals that stop a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tuneport.train.run.run_folder import TrainingRunFolder


class TrainingStop:
    """Becomes true for good once the run is to stop: SIGTERM, the file `cancel` or `pause`, or a folder that is gone.

    `paused`: whether a pause was asked for, though it may have been taken back meanwhile.
    """

    def __init__(self, run: TrainingRunFolder) -> None:
        self.run, self.signalled, self.paused = run, False, False
        signal.signal(signal.SIGTERM, self.on_signal)

    def __call__(self) -> bool:
        self.paused = self.paused or self.run.pause_requested
        return self.signalled or self.paused or self.run.cancelled or self.run.folder_deleted

    @contextlib.contextmanager
    def allow_immediate_stop(self) -> Iterator[None]:
        """Let SIGTERM end this process within the block: there is nothing to save yet, and no loop reads the flag."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
