"""Intervals of a gateway's work, in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.lifecycle.worker.poll_interval import PollTiming


@dataclass(frozen=True)
class GatewayTiming:
    """Intervals in seconds. The defaults suit people who watch and providers that limit requests; tests use shorter
    ones."""

    poll_requested: float = 2.0
    """A job that a client asks about is polled at once if its last poll is longer ago: watchers see its end soon."""
    poll_requested_remote: float = 20.0
    """The same at a remote provider, which is asked three times a minute at most."""
    polling: PollTiming = PollTiming()
    make_jobs: float = 2.0
    """How soon a request is seen that another gateway on the same store took and dropped; our own are seen at once."""
    settle_results: float = 1.0
    send_webhooks: float = 1.0
    remove_contents: float = 300.0
    missing_content: float = 600.0
    """How long a request waits for content that another gateway on the same store may have."""
    credentials: float = 1.0
    """How soon a revoked token is refused. It makes checking cost nothing at a thousand requests a second."""
    endpoint_wait: float = 540.0
    """How long a chat waits for its endpoint. OpenAI's clients give up after 600."""
    endpoint_ask: float = 2.0
    curve: float = 1.0
    curve_remote: float = 15.0
    """How old the points of a curve may be before its page has them fetched again."""
    page: float = 0.5
    """The shortest pause between two updates of a page."""
    job_page: float = 10.0
    jobs_page: float = 5.0
    """How often a page is drawn again for changes that nothing announces."""
