"""The background threads of a gateway: they make and poll jobs, and keep the store and the uploaded contents in
order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tuneport.errors import TuneportError
from tuneport.lifecycle.webhooks.sender import AT_ONCE
from tuneport.serve.gateway import Gateway
from tuneport.serve.jobs.job_maker import make_jobs_of_requests
from tuneport.serve.jobs.results import GatewayJobResultWriter
from tuneport.serve.live.chat_usage import WRITE_SECONDS

log = logging.getLogger(__name__)


def start_gateway_threads(gateway: Gateway) -> None:
    """Start the background threads of a gateway. `Gateway.close` ends them."""
    results, timing = GatewayJobResultWriter(gateway), gateway.timing
    swept = 0.0
    gateway.sender.register()  # before any job can end

    def make_jobs() -> None:
        while not gateway.stopping:
            _guarded(lambda: make_jobs_of_requests(gateway))
            gateway.wait_for_work(timing.make_jobs)

    def settle_results() -> None:
        nonlocal swept
        while not gateway.wait(timing.settle_results):
            _guarded(results.write_due_results)
            if not swept or time.monotonic() - swept >= timing.remove_contents:
                swept = time.monotonic()
                _guarded(lambda: remove_unneeded_gateway_files(gateway))

    def send_webhooks() -> None:
        while not gateway.wait(timing.send_webhooks):
            _guarded(lambda: _send_due(gateway))

    def write_usage() -> None:
        while not gateway.wait(WRITE_SECONDS):
            _guarded(gateway.chat_usage.write)

    gateway.run_in_background("intake", make_jobs)
    gateway.run_in_background("results", settle_results)
    gateway.run_in_background("sender", send_webhooks)
    gateway.run_in_background("chat-usage", write_usage)
    gateway.run_in_background("poller", gateway.poller.run)


def remove_unneeded_gateway_files(gateway: Gateway) -> None:
    """Remove contents of uploads that have expired, and those that no file and no job needs."""
    gateway.contents.remove_unfinished()
    with gateway.contents.lock_contents():
        for sha256 in gateway.unscoped.store.uploaded.drop_expired():
            gateway.contents.remove(sha256)
    for sha256 in gateway.contents.find_strays(gateway.unscoped.store.uploaded.is_content_needed):
        with gateway.contents.lock_contents():
            if not gateway.unscoped.store.uploaded.is_content_needed(sha256):
                gateway.contents.remove(sha256)


def _send_due(gateway: Gateway) -> None:
    while gateway.sender.send_due() == AT_ONCE and not gateway.stopping:
        pass


def _guarded(work: Callable[[], None]) -> None:
    """Run `work` and log its errors, so that the background work goes on."""
    try:
        work()
    except TuneportError as error:
        log.warning("%s", error)
    except Exception:
        log.exception("the gateway's background work failed; it goes on")
