"""A dashboard without a browser: pages are asked for as a browser would, and held to what every page must be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")

from starlette.testclient import TestClient

from tests.support.gateways import serving
from tests.support.system_packages import browser_program
from tuneport.serve import Gateway, create_app
from tuneport.serve.timing import GatewayTiming
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import TuneSpec

LIVELY = GatewayTiming(poll_requested_remote=0.3, curve_remote=0.3)
"""For pages of jobs at an emulated provider that take seconds."""

HOSTILE = "<script>alert(1)</script>\" onload='x' \u202e\x07 &amp;"
_VOID = {"meta", "link", "input", "img", "br", "hr"}


class Document(HTMLParser):
    """What the tests ask of HTML: it is well formed, ids are unique, nothing in it runs or is styled in place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert len(given) == len(attributes), f"an attribute twice: {tag} {attributes}"
        self.tags.append((tag, given))
        if (id_ := given.get("id")) is not None:
            assert id_ not in self.ids, f"the id {id_} twice"
            self.ids.add(id_)
        assert "style" not in given and not any(name.startswith("on") for name in given), f"{tag} {given}"
        assert tag != "style" and (tag != "script" or given.get("src")), "the policy would refuse it"
        for name in ("href", "src", "action"):
            if name in given:
                self.links.append(given[name] or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


class Dashboard:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.client = TestClient(create_app(gateway), base_url="http://127.0.0.1", follow_redirects=False)

    def get(self, path: str, *, status: int = 200, **options: Any) -> Document:
        """A page, held to what all of them must be."""
        answer = self.client.get(path, **options)
        assert answer.status_code == status, answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        document = Document(answer.text)
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in document.links), document.links
        return document

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf_token" value="(\w+)"', self.client.get(path).text)
        assert found is not None, f"no form on {path}"
        return found[1]

    def post(self, path: str, *, csrf: str, **fields: str) -> Any:
        return self.client.post(path, data={"csrf_token": csrf, **fields})

    def job(
        self,
        steps: int = 20,
        *,
        suffix: str | None = None,
        model: str = "any-model",
        project: str = "default",
        **wishes: Any,
    ) -> str:
        """A job at the fake provider, so many looks after its beginning."""
        data = Path("chats.jsonl")
        if not data.exists():
            turns = [
                [{"role": "user", "content": f"q {number}"}, {"role": "assistant", "content": f"a {number}"}]
                for number in range(12)
            ]
            data.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
        spec = TuneSpec(model=model, dataset=data, suffix=suffix, **wishes)
        row = self.gateway.unscoped.scoped(project).submit(spec, backend="fake")
        for _ in range(steps):
            self.gateway.unscoped.worker.step(row.id)
        return row.id


@pytest.fixture
def dashboard(settings: Settings) -> Iterator[Dashboard]:
    with Gateway(settings) as gateway:
        yield Dashboard(gateway)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    program = browser_program()
    if program is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="a development tool: .ci/development.txt")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[tuple[str, Gateway, OpenAIEmulator]]:
    """Over an emulated OpenAI whose jobs take seconds."""
    with OpenAIEmulator(pace=1.0) as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", emulator.base_url)
        with serving(Gateway(Settings.load(), timing=LIVELY)) as running:
            yield running.url.removesuffix("/v1"), running.gateway, emulator
