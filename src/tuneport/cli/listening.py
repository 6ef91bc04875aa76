"""A server in the foreground: a socket, and an application that answers on it until a signal ends it."""

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
from tuneport.installation import install_extra


@contextmanager
def serve_extra_for(command: str) -> Iterator[None]:
    """Let a command import its server in the block. Raises ConfigError, with what installs it, if a package is
    missing."""
    try:
        import uvicorn  # noqa: F401 (for `run_command_until_signal`: missed before anything has begun)

        yield
    except ImportError as error:
        raise ConfigError(f"{command} needs the {error.name} package: {install_extra('serve')}") from error


def open_command_socket(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 is any free one. Raises ConfigError if that fails."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened at: {error.strerror}; choose another --port") from error


def run_command_until_signal(
    app: Any, listening: socket.socket, *, begin_shutdown: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or Ctrl-C; then call `begin_shutdown`, for answers that would wait for something else."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=20, lifespan="off")
    server = uvicorn.Server(config)
    # Existing objects stay for good: scanning them again and again took the collector a tenth of each request's time.
    gc.collect()
    gc.freeze()
    with _ending(server, begin_shutdown):
        # uvloop, if it is installed
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listening]))


@contextmanager
def _ending(server: Any, begin_shutdown: Callable[[], None]) -> Iterator[None]:
    """Handle SIGTERM and Ctrl-C: the server finishes running requests; a second signal does not wait for them.

    The server's own handler sends the signal again when it is done, which would end the process before the
    application's resources are closed.
    """

    def end(number: int, frame: FrameType | None) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        begin_shutdown()

    server.capture_signals = nullcontext
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
