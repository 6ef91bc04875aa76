"""Makes jobs from stored requests in the background: `make_jobs_of_requests`."""

from __future__ import annotations

import logging
from datetime import timedelta

from tuneport.backends.hosted.http.loop_guard import forwarded_via_gateways
from tuneport.errors import ProviderError, StorageError, TuneportError
from tuneport.lifecycle.proposing.terms import BindingTerm
from tuneport.lifecycle.schema.records import RequestRecord
from tuneport.lifecycle.schema.request_context import RequestContext, use_store_request_context
from tuneport.lifecycle.store.audit import ITSELF
from tuneport.lifecycle.store.requests import ClaimLostError, JobRequestClaim
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.lifecycle.worker.leases import has_lease_owner_ended, keep_lease_renewed, new_lease_owner
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_refusal_for_error
from tuneport.serve.jobs.specs import build_client_requested_spec, build_permitted_spec
from tuneport.types import now

log = logging.getLogger(__name__)

REST_SECONDS = 30.0
"""How long until a request that cannot become a job now is tried again."""


def make_jobs_of_requests(gateway: Gateway) -> None:
    """Make jobs from the requests that no process works on, oldest first. One that cannot be made now does not block
    the others."""
    while not gateway.stopping:
        gone = tuple(
            holder for holder in gateway.unscoped.store.requests.list_holders() if has_lease_owner_ended(holder)
        )
        owner = new_lease_owner()
        request = gateway.unscoped.store.requests.claim_oldest(owner, gone=gone)
        if request is None:
            return
        with (
            keep_lease_renewed(gateway.unscoped.store.requests, request.id, owner),
            forwarded_via_gateways(request.body.get("hops", ())),
        ):
            make_job_of_request(gateway, request, owner)


def make_job_of_request(gateway: Gateway, request: RequestRecord, owner: str) -> None:
    """Read, validate and convert the data, and store the job. As at OpenAI, data that is refused now fails the job."""
    with use_store_request_context(RequestContext(request.project, ITSELF)):  # it sees only the client's project
        _make_job(gateway, request, owner)


def _make_job(gateway: Gateway, request: RequestRecord, owner: str) -> None:
    store = gateway.store
    hashes = (request.body["training_sha256"], request.body.get("validation_sha256"))
    try:
        missing = [sha256 for sha256 in hashes if sha256 is not None and not gateway.contents.has_content(sha256)]
        if missing and now() - request.created_at < timedelta(seconds=gateway.timing.missing_content):
            store.requests.defer(request.id, owner, seconds=REST_SECONDS)  # another gateway on this store may have it
            return
        if missing:
            raise Refusal(400, "The file's content is gone from the gateway; upload it again.")
        for sha256 in hashes:
            if sha256 is not None:
                gateway.contents.fetch_content(sha256)
        # Checked again: another gateway on the store, or an older one, may have stored the request.
        opened = None if request.backend is None else gateway.workspace.backend(request.backend)
        terms: list[BindingTerm] = []
        row = gateway.workspace.submit(
            build_permitted_spec(gateway, request.body, build_client_requested_spec(gateway, request.body), opened),
            backend=request.backend,
            options=JobOptions.of_request(request.body, allow_personal_data=gateway.allow_personal_data),
            show_terms=terms.extend,
            claim=JobRequestClaim(request.id, owner, request.created_at, request.project),
        )
        for term in terms:
            gateway.workspace.worker.events.add_tuneport_event(
                row.id, f"Terms that apply: {term}", type_="terms", once=term.digest
            )
        gateway.wake_poller()
    except ClaimLostError as error:  # by the client's cancel, or to another gateway
        log.info("%s", error)
    except (Refusal, TuneportError) as error:
        if isinstance(error, StorageError) or (isinstance(error, ProviderError) and error.retryable):
            log.warning("%s waits: %s", request.id, error)
            store.requests.defer(request.id, owner, seconds=REST_SECONDS)
            return
        refusal = error if isinstance(error, Refusal) else gateway_refusal_for_error(error)
        told = {"code": refusal.code or "invalid_request", "message": refusal.message, "param": refusal.param}
        store.requests.refuse(request.id, owner, told)
    except Exception:
        log.exception("%s could not be made a job", request.id)
        told = {"code": "internal_error", "message": "tuneport failed; its log has the traceback", "param": None}
        store.requests.refuse(request.id, owner, told)
