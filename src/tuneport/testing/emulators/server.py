"""The shared parts of the emulators: routing, the key, a clock that can be moved, faults on demand and a log of every
exchange.

A test drives an emulator through the methods of `Emulator`; a program in another process through `/_emulator/...`,
which needs no key:

| route | body | does |
| --- | --- | --- |
| GET /_emulator | | its time, jobs_created, requests, faults left, the switches |
| GET /_emulator/page | | a web page, to redirect to |
| POST /_emulator/faults | the arguments of `fail` | arms a fault |
| DELETE /_emulator/faults | | disarms all |
| POST /_emulator/next_job | the arguments of `next_job` | decides how the next job will go |
| POST /_emulator/switches | {name: value} | sets switches |
| POST /_emulator/advance | {"seconds": n} | moves the clock |
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import unquote

from tuneport.testing.emulators.faults import HTML_PAGE, EmulatorExchange, EmulatorFault, FaultKind
from tuneport.testing.emulators.timeline import EmulatedJobPlan
from tuneport.testing.emulators.wire import (
    EmulatedApiError,
    EmulatedRequest,
    EmulatedResponse,
    EmulatorHTTPServer,
    emulated_reply,
)

LOGGED_BODY_BYTES = 1 << 20  # of a longer body the log keeps the beginning


JSON, FORM = "application/json", "multipart/form-data"
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class RouteInput:
    """The input of a route: a body of the content type `body` or none (None), and the query parameters in `query`."""

    body: str | None
    query: tuple[str, ...]


def emulated_route(
    method: str,
    path: str,
    *,
    prefix: str | None = None,
    needs_key: bool = True,
    body: str | None = None,
    query: tuple[str, ...] = (),
    documented: bool = True,
) -> Callable[[Method], Method]:
    """Mark a method as the answer to `method path`; `{name}` captures one segment. May be given more than once.

    A request with a body, a content type or a query parameter other than `body` and `query` is refused, as a strict
    server does; the project's own tests hold both to the published document. `documented=False`: the document does not
    have the route, and everything is taken.
    """
    taken = RouteInput(body, query) if documented else None

    def mark(function: Method) -> Method:
        function.__dict__.setdefault("routes", []).append((method, path, prefix, needs_key, taken))
        return function

    return mark


class Emulator:
    """A provider on this machine. Use it as a context manager, or `start` and `stop` it."""

    name: ClassVar[str]
    default_key: ClassVar[str]
    prefix: ClassVar[str] = "/v1"
    base_path: ClassVar[str] = ""  # what the SDK's base URL has after host and port
    switches: ClassVar[tuple[str, ...]] = ("pace", "list_lag")
    _routes: ClassVar[list[tuple[str, re.Pattern[str], bool, RouteInput | None, str]]]

    def __init__(self, *, key: str | None = None, pace: float = 0.05, list_lag: float = 0.0, port: int = 0,
                 host: str = "127.0.0.1", clock: Callable[[], float] = time.time):  # fmt: skip
        self.key = key or self.default_key
        self.pace = pace  # seconds that a job, or a file in validation, stays in each state
        self.list_lag = list_lag  # seconds until a new job shows up in lists
        self.earlier: list[dict[str, Any]] = []  # jobs that lists have besides, as they show them
        self.jobs_created = 0  # accepted creations, answered or not: what would have been billed
        self.accepted_uploads: list[str] = []  # SHA-256 of the bytes, each time that some were stored for training
        self.log: list[EmulatorExchange] = []
        self._faults: list[EmulatorFault] = []
        self._plans: list[EmulatedJobPlan] = []
        self._clock = clock  # with one that stands still, time passes by `advance` alone
        self._offset = 0.0
        self._identities = 0
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._host, self._port = host, port
        self._server: EmulatorHTTPServer | None = None

    def __init_subclass__(cls) -> None:
        found = []
        for name in dir(cls):
            for method, path, prefix, needs_key, taken in getattr(getattr(cls, name), "routes", ()):
                template = (cls.prefix if prefix is None else prefix) + path
                pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
                found.append((template.count("{"), method, re.compile(pattern), needs_key, taken, name))
        # Fewest captures first, so that /fine-tunes/models/limits is not taken for a job's id.
        cls._routes = [entry[1:] for entry in sorted(found, key=lambda entry: entry[0])]

    def start(self) -> Self:
        self._stopping = threading.Event()  # a new one: a request left hanging before a restart must not wait on
        self._server = EmulatorHTTPServer(self._answer, self._port, self._host)
        self._port = self._server.port  # so that a restart comes back at the same address
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._server:
            self._server.stop()
            self._server = None

    @property
    def listening(self) -> bool:
        return self._server is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        # From this machine a server that listens everywhere is reached on the loopback interface.
        return f"http://{'127.0.0.1' if self._host == '0.0.0.0' else self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """Return the `base_url` for the vendor's SDK."""
        return self.origin + self.base_path

    def now(self) -> float:
        return self._clock() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward. With a long `pace` this makes jobs step only when told."""
        self._offset += seconds

    def fail(self, kind: FaultKind = "status", **options: Any) -> EmulatorFault:
        """Arm a fault for requests that match `method` and `path`; the last `times` count (None: until cleared).

        `path` is with or without the prefix; `*` or `{id}` is one segment, `**` any. The first `skip` matches pass.
        Kinds: `status` answers `status` (500) with `body` (default: the provider's error envelope); `html` a web page
        (`status` 502); `hang` accepts and says nothing for `seconds`, then closes; `drop` closes without acting;
        `reset` resets the connection; `drop_after_accept` and `reset_after_accept` act first: the lost reply; `slow`
        acts and answers after `seconds`; `cut` acts, sends half of the body and closes; `truncated` acts and sends half
        of the body as if it were all; `content_type` acts and calls its JSON text; `shape` acts and answers with the
        JSON `body` ({}); `drip` acts and sends its answer piece by piece over `seconds`; `down_after` acts, answers,
        and refuses connections until `start`.
        """
        fault = EmulatorFault(kind, **options)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    def next_job(self, **plan: Any) -> None:
        """Decide how the next job to be created goes; several calls queue up. See `EmulatedJobPlan`."""
        with self._lock:
            self._plans.append(EmulatedJobPlan(**plan))

    def take_plan(self) -> EmulatedJobPlan:
        return self._plans.pop(0) if self._plans else EmulatedJobPlan()

    def requests(self, method: str, path: str) -> list[EmulatorExchange]:
        """Return the logged exchanges of one endpoint; `path` as in `fail`."""
        matcher = EmulatorFault(method=method, path=path, times=None)
        return [
            item
            for item in self.log
            if matcher.matches_request(EmulatedRequest(item.method, item.path, {}, {}, b""), self.prefix)
        ]

    def new_id(self, prefix: str, length: int = 24) -> str:
        """Return the next id. Ids follow from the order of the calls, so that two equal runs give equal ids."""
        self._identities += 1
        return prefix + hashlib.sha256(f"{self.name} {self._identities}".encode()).hexdigest()[:length]

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None,
              type: str = "invalid_request_error") -> EmulatedApiError:  # fmt: skip
        """Return the envelope that both vendors use: {error: {message, type, param, code}}."""
        return EmulatedApiError(status, {"error": {"message": message, "type": type, "param": param, "code": code}})

    def refuse_key(self, given: str | None) -> EmulatedApiError:
        raise NotImplementedError

    def refuse_undeclared(self, request: EmulatedRequest, taken: RouteInput | None) -> None:
        """Raise 415 for a body, and 400 for a query parameter, that the route does not take."""
        if taken is None:
            return
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.body and given != taken.body:
            supported = "No supported content types" if taken.body is None else f"Only {taken.body} is supported"
            raise self.error(415, f"{supported}, but the request has a body of {given or 'no content type'}.")
        for name in request.query:
            if name.partition("[")[0] not in taken.query:
                raise self.error(400, f"Unknown query parameter: '{name}'.", param=name, code="unknown_parameter")

    def apply_elapsed_time(self) -> None:
        """Apply what time has brought about; called before each request is answered."""

    def _answer(self, request: EmulatedRequest) -> EmulatedResponse | None:
        if request.path.startswith("/_emulator"):
            return self._administer(request)
        stopping = self._stopping
        with self._lock:
            arrived = self.now()
            fault = next((fault for fault in self._faults if fault.matches_request(request, self.prefix)), None)
        if fault is None:
            response: EmulatedResponse | None = self._dispatch(request)
        else:
            response = self._faulty(fault, request, stopping)
        if fault is None or fault.kind not in ("hang", "slow"):
            self._record(request, response, fault.kind if fault else None, arrived)
        return response

    def _faulty(
        self, fault: EmulatorFault, request: EmulatedRequest, stopping: threading.Event
    ) -> EmulatedResponse | None:
        kind = fault.kind
        if kind in ("hang", "drop", "reset"):
            if kind == "hang":
                self._record(request, None, kind, self.now())
            fault.reached.set()
            if kind == "hang":
                self._wait(fault, stopping)
            return EmulatedResponse(reset=True) if kind == "reset" else None
        if kind not in ("status", "html") or fault.acts:
            response = self._dispatch(request)
        if kind == "slow":
            self._record(request, response, kind, self.now())
        fault.reached.set()
        if kind in ("status", "html"):
            return fault.error_reply(self._default_body(fault.status or 500), time.time())
        if kind == "slow":
            self._wait(fault, stopping)
        if kind == "down_after":
            self._go_down()
        return None if kind == "drop_after_accept" else fault.spoil_reply(response)

    def _wait(self, fault: EmulatorFault, stopping: threading.Event) -> None:
        """Wait for the fault's seconds, or until the test lets go or the emulator stops."""
        deadline = time.monotonic() + fault.seconds
        while time.monotonic() < deadline and not stopping.is_set() and not fault.release.wait(0.01):
            pass

    def _go_down(self) -> None:
        # Nobody listens any more before the answer is sent, so that the client's next connection is refused.
        server, self._server = self._server, None
        if server:
            server.stop_listening()

    def _default_body(self, status: int) -> Any:
        type = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        return self.error(status, f"Emulated error {status}.", type=type).payload

    def _dispatch(self, request: EmulatedRequest) -> EmulatedResponse:
        with self._lock:
            try:
                for method, pattern, needs_key, taken, name in self._routes:
                    match = pattern.fullmatch(request.path) if method == request.method else None
                    if match:
                        scheme, _, given = request.headers.get("authorization", "").partition(" ")
                        if needs_key and (scheme, given) != ("Bearer", self.key):
                            raise self.refuse_key(given or None)
                        self.refuse_undeclared(request, taken)
                        self.apply_elapsed_time()
                        captured = {field: unquote(value) for field, value in match.groupdict().items()}
                        answer = getattr(self, name)(request, **captured)
                        return answer if isinstance(answer, EmulatedResponse) else emulated_reply(answer)
                raise self.error(404, f"Invalid URL ({request.method} {request.path})")
            except EmulatedApiError as error:
                return emulated_reply(error.payload, error.status)
            except ValueError as error:
                return emulated_reply(
                    self.error(400, f"We could not parse the body of your request: {error}").payload, 400
                )

    def _record(
        self, request: EmulatedRequest, response: EmulatedResponse | None, fault: str | None, arrived: float
    ) -> None:
        response = None if response and response.reset else response
        body = b"".join(response.events or [response.body]) if response else b""
        exchange = EmulatorExchange(
            method=request.method,
            path=request.path,
            query=request.query,
            request_headers=request.headers,
            request_body=request.body[:LOGGED_BODY_BYTES],
            status=response.status if response else None,
            response_headers=response.headers if response else {},
            response_body=body[:LOGGED_BODY_BYTES],
            fault=fault,
            at=arrived,
        )
        with self._lock:
            self.log.append(exchange)

    def _administer(self, request: EmulatedRequest) -> EmulatedResponse:
        command = request.path.removeprefix("/_emulator").strip("/")
        if command == "page":  # where a fault may redirect to
            return EmulatedResponse(HTML_PAGE, headers={"content-type": "text/html"})
        try:
            with self._lock:
                return emulated_reply(self._command(request.method, command, request.json()))
        except (KeyError, TypeError, ValueError) as error:
            return emulated_reply({"error": str(error)}, 400)

    def _command(self, method: str, command: str, options: dict[str, Any]) -> dict[str, Any]:
        match method, command:
            case "POST", "faults":
                self.fail(**options)
            case "DELETE", "faults":
                self.clear_faults()
            case "POST", "next_job":
                self.next_job(**options)
            case "POST", "advance":
                self.advance(float(options["seconds"]))
            case "POST", "switches":
                if unknown := sorted(set(options) - set(self.switches)):
                    raise ValueError(f"no such switch: {unknown[0]}; there are {', '.join(self.switches)}")
                for name, value in options.items():
                    setattr(self, name, value)
            case "GET", "":
                pass
            case _:
                raise ValueError(f"no such command: {method} {command}")
        return {
            "emulator": self.name, "now": self.now(), "jobs_created": self.jobs_created, "requests": len(self.log),
            "faults": sum(fault.times != 0 for fault in self._faults),
            "switches": {name: getattr(self, name) for name in self.switches},
        }  # fmt: skip
