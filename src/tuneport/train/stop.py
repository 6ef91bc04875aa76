"""When a run is to stop."""

from __future__ import annotations

import signal
from types import FrameType

from tuneport.train.run_folder import RunFolder


class Stop:
    """Becomes true for good once the run is to stop: SIGTERM, the file `cancel` or `pause`, or a folder that is gone.

    `paused`: whether a pause was asked for, though somebody may have taken it back meanwhile.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run, self.signalled, self.paused = run, False, False
        signal.signal(signal.SIGTERM, self.on_signal)

    def __call__(self) -> bool:
        self.paused = self.paused or self.run.pause_asked
        return self.signalled or self.paused or self.run.cancelled or self.run.gone

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
