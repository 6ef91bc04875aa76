"""Work over the parts of a dataset in one process per core, whose results come in the order of the parts.

As in `parallel`, the processes are not those of `multiprocessing`. Only names of parts and short answers go through
pipes: what is made of a part lies in a scratch file, which has no name and so leaves nothing behind, whichever process
dies.
"""

from __future__ import annotations

import os
import pickle
import selectors
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from tuneport.data.running.parallel import (
    count_worker_processes,
    describe_worker_exit,
    import_worker,
    picklable_error,
    start_worker_process,
)
from tuneport.errors import TuneportError

WORTH_SECONDS = 0.2  # what must be left to do for one process: starting others costs half of that
AHEAD = 4  # parts for each process that may be done before the one that is waited for
_QUEUED = 2  # parts that a helper is handed: one in work, one waiting
_START = "from tuneport.data.running.ordered_map import run_part_worker; run_part_worker()"

Made = tuple[bytes, Any]


class PartWorker(Protocol):
    def process_part(self, part: Any) -> Made:
        """Return the result of the part: bytes, and anything else to report (short, and it can be pickled)."""


def ordered_map(parts: Sequence[Any], make: str, *arguments: Any, scratch: Path) -> Generator[Made, None, None]:
    """Yield what workers made by calling `make` ("module:name") with `arguments` make of each part, in order.

    The first worker is in this process; once the rest clearly takes longer than starting processes costs, those on the
    other cores help. Scratch files are in the folder `scratch`. Errors of a worker are raised here. Close the generator
    to end the processes.
    """
    worker: PartWorker = import_worker(make)(*arguments)
    began = time.perf_counter()
    for done, part in enumerate(parts, start=1):
        yield worker.process_part(part)
        left = (time.perf_counter() - began) / done * (len(parts) - done)
        if left > WORTH_SECONDS and count_worker_processes() > 1 and hasattr(os, "pwrite"):
            break
    else:
        return
    with ExitStack() as ending:
        helpers: list[_PartWorkerProcess] = []
        with suppress(TuneportError, OSError):  # that cannot be started: then this process does it alone
            for _ in range(min(count_worker_processes() - 1, len(parts) - done)):
                helpers.append(ending.enter_context(_PartWorkerProcess(pickle.dumps((make, arguments)), scratch)))
        yield from _together(parts, done, worker, helpers)


def _together(
    parts: Sequence[Any], at: int, worker: PartWorker, helpers: list[_PartWorkerProcess]
) -> Generator[Made, None, None]:
    """Yield the results, with helpers. `at` is the part whose turn it is, `upcoming` the next one to assign."""
    made: dict[int, Made] = {}
    upcoming = at
    with selectors.DefaultSelector() as answers:
        for helper in helpers:
            answers.register(helper.answers, selectors.EVENT_READ, helper)
        while at < len(parts):
            end = min(len(parts), at + AHEAD * (len(helpers) + 1))
            for helper in helpers:
                while upcoming < end and helper.free:
                    helper.hand_part(upcoming, parts[upcoming])
                    upcoming += 1
            busy = upcoming < end
            if busy:
                made[upcoming] = worker.process_part(parts[upcoming])
                upcoming += 1
            for key, _ in answers.select(0 if busy else None) if helpers else ():
                made.update(key.data.receive_parts())
            while at in made:
                yield made.pop(at)
                at += 1


class _PartWorkerProcess:
    """A process, and the scratch files that it writes to in turn."""

    def __init__(self, start: bytes, scratch: Path) -> None:
        self.free: list[int] = []
        self._closing = ExitStack()
        try:
            files = [self._closing.enter_context(tempfile.TemporaryFile(dir=scratch)) for _ in range(_QUEUED)]
            self._scratch = [file.fileno() for file in files]
            self.process = start_worker_process(_START, pass_fds=self._scratch, bufsize=0)
        except BaseException:
            self._closing.close()
            raise
        assert self.process.stdin is not None and self.process.stdout is not None
        self._parts, self.answers = self.process.stdin, self.process.stdout
        self._send(start)
        self._send(pickle.dumps(self._scratch))

    def __enter__(self) -> _PartWorkerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self._parts.close()
        self.answers.close()
        self._closing.close()

    def hand_part(self, place: int, part: Any) -> None:
        self._send(pickle.dumps((place, self.free.pop(), part)))

    def receive_parts(self) -> dict[int, Made]:
        """Return the result, by the part's place. The first answer only says that it can begin."""
        told = _received(self.answers)
        if told is None:
            raise TuneportError(f"a worker process {describe_worker_exit(self.process.wait())}")
        succeeded, value = pickle.loads(told)
        if not succeeded:
            raise value
        if value is None:
            self.free += range(_QUEUED)
            return {}
        place, slot, size, more = value
        data = _read(self._scratch[slot], size)
        self.free.append(slot)
        return {place: (data, more)}

    def _send(self, message: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended: its answer says why
            _send(self._parts, message)


def run_part_worker() -> None:
    """Work as a child: parts on stdin, answers on stdout. All other output goes to stderr."""
    parts, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with suppress(BrokenPipeError):  # the parent is gone
        try:
            start, files = _received(parts), _received(parts)
            if start is None or files is None:
                return
            make, arguments = pickle.loads(start)
            scratch = pickle.loads(files)
            worker: PartWorker = import_worker(make)(*arguments)
            _send(answers, pickle.dumps((True, None)))
            while (told := _received(parts)) is not None:
                place, slot, part = pickle.loads(told)
                data, more = worker.process_part(part)
                _write(scratch[slot], data)
                _send(answers, pickle.dumps((True, (place, slot, len(data), more))))
        except BrokenPipeError:
            raise
        except Exception as error:
            _send(answers, pickle.dumps((False, picklable_error(error))))


def _send(stream: IO[bytes], message: bytes) -> None:
    rest = memoryview(len(message).to_bytes(8, sys.byteorder) + message)
    while rest:
        rest = rest[stream.write(rest) :]


def _received(stream: IO[bytes]) -> bytes | None:
    """Return one message, or None if there are no more. Reads no byte of the next one, so that waiting for it works."""
    size = _exactly(stream, 8)
    return None if size is None else _exactly(stream, int.from_bytes(size, sys.byteorder))


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    pieces = []
    while size:
        piece = stream.read(size)
        if not piece:
            return None
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _write(file: int, data: bytes) -> None:
    at, rest = 0, memoryview(data)
    while at < len(data):
        at += os.pwrite(file, rest[at:], at)


def _read(file: int, size: int) -> bytes:
    data = os.pread(file, size, 0)
    while len(data) < size:
        more = os.pread(file, size - len(data), len(data))
        if not more:
            raise OSError(f"a scratch file lacks {size - len(data)} bytes")
        data += more
    return data
