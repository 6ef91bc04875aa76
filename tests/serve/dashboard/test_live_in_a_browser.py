"""Pages that change by themselves in headless Chromium: by one stream, through a restart, in many tabs at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.serve.dashboard.conftest import LIVELY, Dashboard
from tests.support.gateways import chats, serving
from tests.support.tabs import Tab, expect, opened
from tests.support.waiting import until
from tuneport.serve import Gateway
from tuneport.serve.dashboard.job import EVENTS
from tuneport.serve.http.access import COOKIE
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator

pytestmark = pytest.mark.full

HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_job_s_page_lives_through_a_restart_and_repeats_nothing(
    chromium: Any, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    with OpenAIEmulator(pace=1.0) as emulator:
        emulator.next_job(stuck="running")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", emulator.base_url)
        with serving(Gateway(Settings.load(), timing=LIVELY)) as running:
            jobs, origin = running.client().fine_tuning.jobs, running.url.removesuffix("/v1")
            file = running.client().files.create(file=chats(tmp_path / "chats.jsonl", 20), purpose="fine-tune").id
            job = jobs.create(model="gpt-4.1-mini-2025-04-14", training_file=file).id
            context = chromium.new_context()
            tab = Tab(context.new_page(), origin)
            asked: list[tuple[str, str]] = []
            tab.page.on("request", lambda request: asked.append((request.resource_type, request.url)))
            tab.see(f"/jobs/{job}")
            tab.page.evaluate("window.loaded = true")
            expect(tab.page.locator("#state .badge")).to_have_text("running")
            expect(tab.page.get_by_role("heading", name="Loss")).to_be_visible()
            expect(tab.page.locator("#figures progress")).to_be_visible()  # known by its events alone
            assert [kind for kind, url in asked if "/assets/" not in url] == ["document", "eventsource"], "no polling"
            assert tab.trouble == []
        expect(tab.page.get_by_role("alert")).to_contain_text("The gateway does not answer.")
        for held in emulator.jobs.values():
            held.timeline.stuck = None  # it ends while the gateway is away
        with serving(Gateway(Settings.load(), timing=LIVELY), port=int(origin.rsplit(":", 1)[1])) as running:
            expect(tab.page.locator("#state .badge")).to_have_text("succeeded")
            expect(tab.page.get_by_text("The job has successfully completed")).to_be_visible()
            expect(tab.page.locator("#gone")).to_be_hidden()
            until(lambda: running.gateway.streams.watcher_count == 0)  # its end was told, and it asks no more
            assert tab.page.evaluate("window.loaded") is True
            shown = tab.page.locator(".events bdi").all_inner_texts()
            events = [
                event.message for _, event in reversed(running.gateway.unscoped.store.events.list_job_events(job))
            ]
            assert len(shown) >= EVENTS and shown == events[: len(shown)], "each once, newest first"
            assert {kind for kind, url in asked if "/assets/" not in url} == {"document", "eventsource"}
            assert all("ERR_CONNECTION_REFUSED" in told or "ERR_EMPTY_RESPONSE" in told for told in tab.trouble)
            context.close()


def test_many_tabs_leave_the_browser_connections_to_spare(chromium: Any, settings: Settings) -> None:
    with serving(Gateway(settings), background=False) as running:
        pages, origin, streams = Dashboard(running.gateway), running.url.removesuffix("/v1"), running.gateway.streams
        pages.job(3)
        with opened(chromium, origin) as tab:
            tabs = [tab, *(Tab(tab.page.context.new_page(), origin) for _ in range(7))]
            for each in tabs:
                each.see("/")
            until(lambda: streams.watcher_count == 4)
            new = pages.job(0)
            streams.wake()
            told = [each for each in tabs if each.page.locator("#liveness").inner_text() == "live"]
            assert len(told) == 4
            for each in told:
                expect(each.page.get_by_role("link", name="any-model")).to_have_count(2)
                each.page.get_by_label(f"compare {new}").check()
            # Whoever is not looked at gives its place to another.
            told[0].page.evaluate(HIDE, True)
            until(lambda: streams.watcher_count == 3)
            others = [each for each in tabs if each not in told]
            others[0].page.evaluate(HIDE, True)
            others[0].page.evaluate(HIDE, False)
            until(lambda: streams.watcher_count == 4)
            expect(others[0].page.get_by_role("link", name="any-model")).to_have_count(2)
            running.gateway.unscoped.worker.step(new)
            streams.wake()
            expect(told[1].page.locator(f"#row-{new} .badge")).not_to_have_text("preparing")
            assert told[1].page.get_by_label(f"compare {new}").is_checked(), "what is chosen stays"
            assert [each.trouble for each in tabs] == [[]] * len(tabs)


def test_a_large_file_shows_how_far_it_is_and_can_be_stopped(chromium: Any, settings: Settings, tmp_path: Path) -> None:
    row = b'{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "a"}]}\n' % (b"q" * 9_900)
    path = tmp_path / "large.jsonl"
    path.write_bytes(row * 3_000)
    with serving(Gateway(settings), background=False) as running:
        with opened(chromium, running.url.removesuffix("/v1")) as tab:
            tab.see("/new")
            tab.page.set_input_files("#file", path)
            network = tab.page.context.new_cdp_session(tab.page)
            slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 8_000_000}
            network.send("Network.enable")
            network.send("Network.emulateNetworkConditions", slow)
            tab.page.get_by_role("button", name="Upload").click()
            expect(tab.page.locator(".sending output")).to_have_text(re.compile(r"^\d+ of 30 MB, .* MB/s, \d+ s left$"))
            tab.judged()
            tab.page.get_by_role("button", name="Stop").click()
            tab.told("Stopped; nothing was kept.")
            contents = running.gateway.contents.folder
            until(lambda: [each for each in contents.rglob("*") if each.is_file() and each.name != "lock"] == [])
            network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
            tab.page.get_by_role("button", name="Upload").click()
            tab.page.wait_for_url("**/new/file-*")
            assert tab.trouble == []


def test_a_session_that_ends_says_so(chromium: Any, settings: Settings) -> None:
    with serving(Gateway(settings), background=False) as running:
        pages, store, origin = (
            Dashboard(running.gateway),
            running.gateway.unscoped.store,
            running.url.removesuffix("/v1"),
        )
        job = pages.job(3)
        cookie = store.tokens.add_session(store.tokens.add("me", scope="admin")[0].id)
        with opened(chromium, origin) as tab:
            tab.page.context.add_cookies([{"name": COOKIE, "value": cookie, "url": origin}])
            tab.see(f"/jobs/{job}")
            expect(tab.page.locator("#liveness")).to_have_text("live")
            running.gateway.credentials.end_session(cookie)
            pages.gateway.unscoped.worker.step(job)
            running.gateway.streams.wake()
            expect(tab.page.get_by_role("alert")).to_contain_text("You are logged out")
            tab.judged()
            tab.page.get_by_role("link", name="Log in again").click()
            tab.page.wait_for_url(f"**/login?next=%2Fjobs%2F{job}")
