"""A server in the foreground: a socket, and an application that answers on it until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from tuneport.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """ConfigError where that address cannot be listened at; 0 is any free port."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened at: {error.strerror}; choose another --port") from error


def answer(app: Any, listening: socket.socket, *, let_go: Callable[[], None] = lambda: None) -> None:
    """Until SIGTERM or Ctrl-C; `let_go` is called then, for answers that would wait for something else."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=20, lifespan="off")
    server = uvicorn.Server(config)
    # What is there now stays: the collector need not go through it again and again, a tenth of each request's time.
    gc.collect()
    gc.freeze()
    with _ending(server, let_go):
        # uvloop's, where it is installed
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listening]))


@contextmanager
def _ending(server: Any, let_go: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C let the server finish what is under way; a second one does not wait for that.

    The server's own way sends itself the signal once more when it is done, which would end the process before what is
    behind the application is closed.
    """

    def end(number: int, frame: FrameType | None) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        let_go()

    server.capture_signals = nullcontext
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
