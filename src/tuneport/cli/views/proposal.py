"""A job before it starts: what a person agrees to, and the question."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tuneport.cli.views import output

if TYPE_CHECKING:
    from tuneport.lifecycle.planning.planning import Plan
    from tuneport.lifecycle.proposing.consent import ChooseBackend, Confirm, ConfirmEndpoint
    from tuneport.lifecycle.proposing.proposal import JobProposal
    from tuneport.types import EndpointOffer


def confirmation(yes: bool) -> Confirm:
    """Return who agrees to a job: the terminal is asked, unless there is none or `--yes` was given."""
    return False if yes else _ask_for_job if _can_ask() else None


def endpoint_confirmation(yes: bool) -> ConfirmEndpoint:
    """Return who agrees to an endpoint, as `confirmation` does for a job."""
    return False if yes else _ask_for_endpoint if _can_ask() else None


def backend_question() -> ChooseBackend | None:
    return _ask_for_backend if _can_ask() else None


def print_job_proposal(proposal: JobProposal) -> None:
    table = output.console_table("", "", cut=("",))
    table.show_header = False
    table.columns[0].no_wrap = True
    table.columns[1].no_wrap, table.columns[1].overflow = False, "fold"
    for label, text in proposal.lines():
        table.add_row(label, text)
    output.console(stderr=True).print(table)


def _can_ask() -> bool:
    return not output.as_json and sys.stdin.isatty()


def _ask_for_job(proposal: JobProposal) -> bool:
    return output.ask_yes_or_no("Start this job?", otherwise="nothing was started")


def _ask_for_endpoint(offer: EndpointOffer) -> bool:
    from tuneport.lifecycle.proposing.consent import describe_endpoint_offer

    output.print_note(describe_endpoint_offer(offer))
    return output.ask_yes_or_no("Start it?", otherwise="nothing was started")


def _ask_for_backend(plan: Plan) -> str | None:
    """Show the ranking, and return the name of the chosen backend, or None."""
    allowed = [choice for choice in plan.choices if choice.allowed]
    table = output.console_table("", "backend", "model", "training", "time", right=("training", "time"), cut=("model",))
    for number, choice in enumerate(allowed, start=1):
        time = output.duration(choice.duration.expected_seconds)
        table.add_row(str(number), choice.backend, choice.model, output.money(choice.quote.expected), time)
    output.print_note("No backend was named. These can run the job, the best first:")
    output.console(stderr=True).print(table)
    output.print_line(f"Which one? [1-{len(allowed)}, or none] ", end="", stderr=True)
    with output.interrupted_question("nothing was started"):
        answer = sys.stdin.readline().strip()
    if answer.isdigit() and 1 <= int(answer) <= len(allowed):
        return allowed[int(answer) - 1].backend
    return answer if answer in [choice.backend for choice in allowed] else None
