"""The store: every job, the files that were uploaded for it, its events, and who is driving it right now.

A job's row exists before the first remote call. Rows are claimed by lease: a driver writes its name and an expiry into
the row, renews both while it works, and its results are applied only while the row still bears its name. SQLite by
default; any SQLAlchemy URL by `TUNEPORT_DATABASE_URL`.
"""

from __future__ import annotations

import copy

from tuneport.lifecycle.schema.database import StoreDatabase
from tuneport.lifecycle.schema.migrations import SCHEMA_VERSION
from tuneport.lifecycle.schema.scope import NoScopeError, ProjectScope
from tuneport.lifecycle.store.audit import AuditLog
from tuneport.lifecycle.store.event_log import JobEventLog
from tuneport.lifecycle.store.files.journal import RemoteFileJournal
from tuneport.lifecycle.store.files.uploaded import UploadedFileStore
from tuneport.lifecycle.store.files.uploads import UploadStore
from tuneport.lifecycle.store.jobs import JobStore
from tuneport.lifecycle.store.leases import LEASE_SECONDS, JobLeases, LeaseLostError
from tuneport.lifecycle.store.listing import JobListStore
from tuneport.lifecycle.store.models import TunedModelStore
from tuneport.lifecycle.store.outbox import WebhookOutbox
from tuneport.lifecycle.store.part import UnknownJobError
from tuneport.lifecycle.store.requests import JobRequestStore
from tuneport.lifecycle.store.schedule import JobPollSchedule
from tuneport.lifecycle.store.shown_terms import ShownTermsStore
from tuneport.lifecycle.store.snapshots import JobSnapshotStore
from tuneport.lifecycle.store.statistics import StatisticsStore
from tuneport.lifecycle.store.tokens import TokenStore

__all__ = ["LEASE_SECONDS", "SCHEMA_VERSION", "LeaseLostError", "NoScopeError", "Store", "UnknownJobError"]


class Store:
    """All reads and writes, in parts, over one database. Close it after use.

    A store shows rows of projects once it has a scope: `scoped(project)` or, for a user of this machine, `unscoped()`.
    Without one it raises NoScopeError. Raises ConfigError if the database cannot be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = database = StoreDatabase(url)
        self._all_events = JobEventLog(database, ProjectScope(None))
        self.leases = JobLeases(database, self._all_events)
        self.schedule, self.webhooks = JobPollSchedule(database, self._all_events), WebhookOutbox(database)
        self.tokens, self.audit = TokenStore(database), AuditLog(database)
        self.statistics, self.terms = StatisticsStore(database), ShownTermsStore(database)
        self._show(None)

    def _show(self, scope: ProjectScope | None) -> None:
        database = self.database
        self.jobs, self.models = JobStore(database, scope), TunedModelStore(database, scope)
        self.listing, self.snapshots = JobListStore(database, scope), JobSnapshotStore(database, scope)
        self.requests, self.files = JobRequestStore(database, scope), RemoteFileJournal(database, scope)
        every_project = scope is not None and scope.project is None
        self.events = self._all_events if every_project else JobEventLog(database, scope)
        self.uploaded, self.uploads = UploadedFileStore(database, scope), UploadStore(database, scope)

    def scoped(self, project: str) -> Store:
        """Return this store as one project sees it. New rows are the project's."""
        return self._seen(ProjectScope(project))

    def unscoped(self) -> Store:
        """Return this store with the rows of all projects. New rows are the default project's."""
        return self._seen(ProjectScope(None))

    def _seen(self, scope: ProjectScope) -> Store:
        store = copy.copy(self)
        store._show(scope)
        return store

    @property
    def read_only(self) -> bool:
        return self.database.read_only

    def close(self) -> None:
        self.database.close()
