"""The whole journey in headless Chromium: by mouse, by keyboard alone, on a phone, in light and in dark."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FIXTURES
from tests.emulators import OpenAIEmulator
from tests.serve.conftest import serving
from tests.system_packages import browser_program
from tuneport.serve import Gateway
from tuneport.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="a development tool: .ci/development.txt")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="a development tool: .ci/development.txt")


pytestmark = pytest.mark.full

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
PATIENCE_MILLISECONDS = 30_000
playwright.expect.set_options(timeout=PATIENCE_MILLISECONDS)
DROP = """([name, text]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([text], name));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.querySelector("form[data-drop]").dispatchEvent(
            new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""


class Tab:
    """A page that must not complain, ask another origin, be wider than its window, or keep anybody out."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.trouble: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda message: self.trouble.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin + "/", "data:")):
            self.trouble.append(f"asked {url}")

    def see(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def told(self, text: str) -> None:
        playwright.expect(self.page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MILLISECONDS)

    def judged(self) -> None:
        """In both schemes; with everything opened that can be."""
        self.page.evaluate("document.querySelectorAll('details:not(.sure)').forEach((each) => { each.open = true })")
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = axe.Axe().run(self.page).response["violations"]
            told = [(row["id"], node["html"][:200], node["failureSummary"]) for row in found for node in row["nodes"]]
            assert told == [], f"{self.page.url} in {scheme}"
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.page.evaluate(width) <= 0, f"{self.page.url} is wider than its window"
        assert self.trouble == [], self.page.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = browser_program()
    if program is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[tuple[str, Gateway, OpenAIEmulator]]:
    """Over an emulated OpenAI whose jobs take seconds."""
    monkeypatch.setattr("tuneport.serve.gateway.HURRY_REMOTE_SECONDS", 0.3)
    monkeypatch.setattr("tuneport.serve.dashboard.curves.FRESH_REMOTE_SECONDS", 0.3)
    with OpenAIEmulator(pace=1.0) as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", emulator.base_url)
        with serving(Gateway(Settings.load())) as running:
            yield running.url.removesuffix("/v1"), running.gateway, emulator


@contextmanager
def opened(browser: Any, origin: str, *, width: int = 1200, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        yield Tab(context.new_page(), origin)
    finally:
        context.close()


def test_the_whole_journey(chromium: Any, gateway: tuple[str, Gateway, OpenAIEmulator]) -> None:
    origin, running, emulator = gateway
    with opened(chromium, origin) as tab:
        page = tab.page
        tab.see("/")
        tab.told("No jobs yet.")
        tab.judged()
        page.get_by_role("link", name="Start the first one").click()
        tab.judged()
        page.evaluate(DROP, ["support.jsonl", TRAIN.read_text()])
        tab.told("worth a look")
        tab.told("Submit the job")
        page.get_by_label("Only this model").fill("gpt-4.1-mini")
        page.get_by_role("button", name="Compare again").click()
        page.get_by_label("gpt-4.1-mini-2025-04-14 on openai").check()
        tab.judged()
        page.get_by_label("Name").fill("triage")
        page.get_by_label("Budget in US dollars").fill("5")
        page.get_by_role("button", name="Submit the job").click()

        # Live to the end, without a reload.
        page.evaluate("window.loaded = true")
        playwright.expect(page.locator("#state .badge")).to_have_text("succeeded")
        playwright.expect(page.get_by_role("heading", name="Loss")).to_be_visible()
        tab.told("The job has successfully completed")
        assert page.evaluate("window.loaded") is True
        first = page.url.rsplit("/", 1)[1]
        tab.judged()
        with page.expect_download() as download:
            page.get_by_role("link", name="metrics.csv", exact=True).click()
        assert Path(download.value.path()).read_text().startswith("step,train_loss")

        # Another one, cancelled on the way.
        emulator.next_job(stuck="running")
        second = another(running, page, origin)
        tab.see(f"/jobs/{second}")
        playwright.expect(page.locator("#state .badge")).to_have_text("running")
        assert page.get_by_role("button", name="Pause").is_visible()
        page.get_by_text("Cancel…").click()
        tab.judged()
        page.get_by_role("button", name="Cancel the job").click()
        playwright.expect(page.locator("#state .badge")).to_have_text("cancelled")

        tab.see("/")
        for job in (first, second):
            page.get_by_label(f"compare {job}").check()
        tab.judged()
        page.get_by_role("button", name="Compare the chosen jobs").click()
        playwright.expect(page.get_by_role("heading", name="Training loss")).to_be_visible()
        tab.judged()

        tab.see(f"/jobs/{first}")
        page.get_by_role("link", name="Chat with it").click()
        page.get_by_label("Prompt", exact=True).fill("Where is my parcel?")
        page.get_by_role("button", name="Ask both").click()
        for side in ("base", "tuned"):
            playwright.expect(page.locator(f"#{side}")).to_have_text(re.compile(r"\w{3}"))
        playwright.expect(page.get_by_role("button", name="Ask both")).to_be_enabled()
        tab.judged()
        for path in ("/models", "/backends"):
            tab.see(path)
            tab.judged()


def another(running: Gateway, page: Any, origin: str) -> str:
    """A second job of the same dataset, submitted by the form."""
    (file, *_), _ = running.store.uploaded_page(limit=1, after=None, purpose="fine-tune", descending=True)
    page.goto(f"{origin}/new/{file.id}?model=gpt-4.1-mini")
    page.get_by_label("gpt-4.1-mini-2025-04-14 on openai").check()
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/jobs/*")
    return str(page.url.rsplit("/", 1)[1])


def test_by_keyboard_alone_on_a_phone(
    chromium: Any, gateway: tuple[str, Gateway, OpenAIEmulator], tmp_path: Path
) -> None:
    origin, _, _ = gateway
    with opened(chromium, origin, width=400, has_touch=True) as tab:
        page = tab.page
        tab.see("/new")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        focus(page, "#file")
        page.set_input_files("#file", TRAIN)  # what the system's own window does when Enter opens it
        focus(page, "form button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/new/file-*")
        tab.told("Submit the job")
        tab.judged()
        focus(page, "#submit button")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        page.evaluate("document.querySelector('input[value^=openai]').focus()")
        page.keyboard.press("Space")
        focus(page, "#submit button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/jobs/*")
        focus(page, "details.sure summary")
        page.keyboard.press("Enter")
        focus(page, "details.sure button")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#state .badge")).to_have_text("cancelled")
        tab.judged()
        for path in ("/", "/chat", "/models", "/backends"):
            tab.see(path)
            tab.judged()


def focus(page: Any, selector: str) -> None:
    """By the key Tab until it is there: an assertion that it can be reached."""
    for _ in range(200):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached")


def test_without_scripts_everything_can_be_read_and_sent(
    chromium: Any, gateway: tuple[str, Gateway, OpenAIEmulator]
) -> None:
    origin, _, _ = gateway
    with opened(chromium, origin, java_script_enabled=False) as tab:
        page = tab.page
        tab.see("/new")
        page.set_input_files("#file", TRAIN)
        page.get_by_role("button", name="Upload").click()
        playwright.expect(page.get_by_role("button", name="Submit the job")).to_be_visible(timeout=60_000)
        page.locator("input[value^=openai]").first.check()
        page.get_by_role("button", name="Submit the job").click()
        page.wait_for_url("**/jobs/*")
        deadline = time.monotonic() + 30
        while page.locator("#state .badge").inner_text() != "succeeded":
            assert time.monotonic() < deadline
            page.reload()
        assert page.locator("svg.lines").count() >= 1
        page.get_by_role("link", name="Chat with it").click()
        page.get_by_label("Prompt", exact=True).fill("Where is my parcel?")
        page.get_by_role("button", name="Ask both").click()
        assert page.locator("#base").inner_text() and page.locator("#tuned").inner_text()
        assert tab.trouble == []
