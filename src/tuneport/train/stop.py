"""When a run is to stop."""

from __future__ import annotations

import signal
from types import FrameType

from tuneport.train.run_folder import RunFolder


class Stop:
    """Becomes true for good once the run is to stop: SIGTERM, or the file `cancel`."""

    def __init__(self, run: RunFolder) -> None:
        self.run, self.signalled = run, False
        signal.signal(signal.SIGTERM, self._on_signal)

    def __call__(self) -> bool:
        return self.signalled or self.run.cancelled

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
