"""A search for secrets in everything that a run has left behind, and the record of it."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

from tuneport.testing.emulators.faults import EmulatorExchange


def forms(secret: str) -> set[bytes]:
    """A secret plain, URL-encoded, as `repr` and JSON write it, and in base64 wherever in a longer text it begins."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), repr(secret)[1:-1].encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # What belongs to a neighbour is cut off: the signs before, and those that the bytes behind decide.
            encoded = encode(b"\0" * offset + plain)
            first = -(-offset * 8 // 6)
            found.add(encoded[first : (offset + len(plain)) * 8 // 6])
    return found


class Haystack(logging.Handler):
    """What was left behind, by place. As a logging handler it takes every record."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.places: dict[str, list[tuple[str, bytes]]] = defaultdict(list)

    def put(self, place: str, label: str, content: str | bytes) -> None:
        encoded = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.places[place].append((label, encoded))

    def emit(self, record: logging.LogRecord) -> None:
        self.put("logs", record.name, self.format(record))
        self.put("logs", record.name, repr(record.args))

    def put_files(self, folder: Path) -> None:
        """Everything below `folder`: names and contents. The database has a place of its own."""
        for path in sorted(folder.rglob("*")):
            place = "store" if path.name.startswith("tuneport.db") else "files"
            self.put(place, "name", str(path.relative_to(folder)))
            if path.is_file() and not path.is_symlink():
                self.put(place, str(path.relative_to(folder)), path.read_bytes())

    def put_object(self, label: str, thing: object) -> None:
        for write in (repr, str, _printed):
            self.put("objects", f"{write.__name__} of {label}", write(thing))
        try:
            self.put("objects", f"pickle of {label}", pickle.dumps(thing))
        except Exception:  # what cannot be pickled is the better for it
            return

    def put_error(self, label: str, error: BaseException) -> None:
        self.put("errors", label, "".join(traceback.format_exception(error)))
        self.put_object(label, error)

    def put_process(self, label: str, pid: int) -> None:
        for name in ("cmdline", "environ"):
            self.put("processes", f"{name} of {label}", Path(f"/proc/{pid}/{name}").read_bytes())

    def put_wire(self, emulator: str, exchanges: Iterable[EmulatorExchange]) -> None:
        """The requests, without the header that is for the key."""
        for exchange in exchanges:
            label = f"{exchange.method} {exchange.path} at {emulator}"
            headers = {name: value for name, value in exchange.request_headers.items() if name != "authorization"}
            self.put("wire", label, repr((exchange.path, exchange.query, headers)))
            self.put("wire", label, exchange.request_body)

    def find(self, secrets: Mapping[str, str], place: str | None = None) -> list[str]:
        """Where which secret lies: "openai key in logs (httpx)"."""
        found = []
        for where in [place] if place else sorted(self.places):
            for name, secret in secrets.items():
                for form in forms(secret):
                    found += [
                        f"{name} in {where} ({label})" for label, content in self.places[where] if form in content
                    ]
        return sorted(set(found))


def _printed(thing: object) -> str:
    """As the command line and a careless `print(vars(...))` would show it."""
    if isinstance(thing, BaseModel) and not isinstance(thing, type):
        return f"{thing.model_dump()} {thing.model_dump_json()}"
    as_dict: Any = getattr(thing, "as_dict", None)
    return str(as_dict()) if callable(as_dict) and not isinstance(thing, type) else ""
