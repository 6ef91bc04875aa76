"""The whole journey in headless Chromium: by mouse, by keyboard alone, on a phone, in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tests.support.tabs import expect, opened
from tests.support.waiting import until
from tuneport.serve import Gateway
from tuneport.testing.emulators import OpenAIEmulator

pytestmark = pytest.mark.full

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
DROP = """([name, text]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([text], name));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.querySelector("form[data-drop]").dispatchEvent(
            new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""


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
        page.get_by_label("Name", exact=True).fill("triage")
        page.get_by_label("Budget in US dollars").fill("5")
        page.get_by_role("button", name="Submit the job").click()

        # Live to the end, without a reload.
        page.evaluate("window.loaded = true")
        expect(page.locator("#state .badge")).to_have_text("succeeded")
        expect(page.get_by_role("heading", name="Loss")).to_be_visible()
        tab.told("The job has successfully completed")
        assert page.evaluate("window.loaded") is True
        page.locator("svg.lines").first.hover()
        expect(page.locator(".readout").first).to_have_text(re.compile(r"^at step [\d,]+: training [\d.]+"))
        first = page.url.rsplit("/", 1)[1]
        tab.judged()
        with page.expect_download() as download:
            page.get_by_role("link", name="metrics.csv", exact=True).click()
        assert Path(download.value.path()).read_text().startswith("step,train_loss")

        # Another one, cancelled on the way.
        emulator.next_job(stuck="running")
        second = another(running, page, origin)
        tab.see(f"/jobs/{second}")
        expect(page.locator("#state .badge")).to_have_text("running")
        assert page.get_by_role("button", name="Pause").is_visible()
        page.get_by_text("Cancel…").click()
        tab.judged()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.locator("#state .badge")).to_have_text("cancelled")

        tab.see("/")
        for job in (first, second):
            page.get_by_label(f"compare {job}").check()
        tab.judged()
        page.get_by_role("button", name="Compare the chosen jobs").click()
        expect(page.get_by_role("heading", name="Training loss")).to_be_visible()
        tab.judged()

        tab.see(f"/jobs/{first}")
        page.get_by_role("link", name="Chat with it").click()
        page.get_by_label("Prompt", exact=True).fill("Where is my parcel?")
        page.get_by_role("button", name="Ask both").click()
        for side in ("base", "tuned"):
            expect(page.locator(f"#{side}")).to_have_text(re.compile(r"\w{3}"))
        expect(page.get_by_role("button", name="Ask both")).to_be_enabled()
        tab.judged()
        for path in ("/models", "/backends"):
            tab.see(path)
            tab.judged()


def another(running: Gateway, page: Any, origin: str) -> str:
    """A second job of the same dataset, submitted by the form."""
    (file, *_), _ = running.unscoped.store.uploaded.page(limit=1, after=None, purpose="fine-tune", descending=True)
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
        expect(page.locator("#state .badge")).to_have_text("cancelled")
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
        expect(page.get_by_role("button", name="Submit the job")).to_be_visible(timeout=60_000)
        page.locator("input[value^=openai]").first.check()
        page.get_by_role("button", name="Submit the job").click()
        page.wait_for_url("**/jobs/*")
        until(lambda: page.reload() and page.locator("#state .badge").inner_text() == "succeeded")
        assert page.locator("svg.lines").count() >= 1
        page.get_by_role("link", name="Chat with it").click()
        page.get_by_label("Prompt", exact=True).fill("Where is my parcel?")
        page.get_by_role("button", name="Ask both").click()
        assert page.locator("#base").inner_text() and page.locator("#tuned").inner_text()
        assert tab.trouble == []
