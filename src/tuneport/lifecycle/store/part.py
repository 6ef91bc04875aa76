"""The base of the store's parts: their database, and records made from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, true, update
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError
from tuneport.lifecycle.schema import records, tables
from tuneport.lifecycle.schema.database import StoreDatabase
from tuneport.lifecycle.schema.scope import NoScopeError, ProjectScope
from tuneport.types import now

OfProject = TypeVar("OfProject", bound=tables.ProjectColumns)
Record = TypeVar("Record")
ROWS: dict[type[Any], type[tables.Base]] = {
    records.JobRecord: tables.JobRow,
    records.RequestRecord: tables.JobRequestRow,
    records.FileRecord: tables.UploadedFileRow,
    records.UploadRecord: tables.UploadRow,
    records.UploadPartRecord: tables.UploadPartRow,
    records.TokenRecord: tables.TokenRow,
    records.SessionRecord: tables.BrowserSessionRow,
    records.EndpointRecord: tables.EndpointRow,
    records.DeliveryRecord: tables.DeliveryRow,
    records.AuditRecord: tables.AuditRow,
}
_TABLES = {record: row.__table__ for record, row in ROWS.items()}
_NAMES = {record: tuple(table.columns.keys()) for record, table in _TABLES.items()}
RELEASED: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}


class UnknownJobError(ConfigError):
    """The store has no such job."""


class StorePart:
    """Some of the store's reads and writes. Each method is one short transaction, with no network call inside."""

    def __init__(self, database: StoreDatabase) -> None:
        self.database = database

    def transaction(self) -> AbstractContextManager[Session]:
        return self.database.transaction()

    def reading(self) -> AbstractContextManager[Session]:
        return self.database.reading()


class LeasedPart(StorePart):
    """A part whose rows are held by one process at a time: it writes its name and an expiry into the row, moves the
    expiry on while it works, and changes the row only while its name is there."""

    leased: ClassVar[type[tables.JobRow] | type[tables.JobRequestRow] | type[tables.DeliveryRow]]
    seconds: ClassVar[float]
    """Seconds that a row is held unless the lease is renewed. A holder that was suspended for longer has lost it."""

    def leasable_rows(self) -> ColumnElement[bool]:
        """Return the rows that a holder is waited for."""
        return true()

    def rows_without_holder(self, moment: datetime, *, gone: Sequence[str] = ()) -> ColumnElement[bool]:
        """Return the condition for rows without a holder. `gone` names holders that are known to be dead."""
        row = self.leased
        return or_(row.lease_owner.is_(None), row.lease_expires_at < moment, row.lease_owner.in_(gone))

    def holder_values(self, owner: str, moment: datetime, seconds: float | None = None) -> dict[str, Any]:
        """Return the values of a row that `owner` holds from `moment` on."""
        return {"lease_owner": owner, "lease_expires_at": moment + timedelta(seconds=seconds or self.seconds)}

    def renew(self, row_id: str, owner: str) -> bool:
        """Extend a lease that is still held; return False if it was lost. It never takes one."""
        return (
            self._change((self.leased.id == row_id, self.leased.lease_owner == owner), self.holder_values(owner, now()))
            == 1
        )

    def release(self, row_id: str, owner: str) -> None:
        self._change((self.leased.id == row_id, self.leased.lease_owner == owner), RELEASED)

    def release_dead_holders(self, owners: Sequence[str], **also: Any) -> None:
        """Take the leases of those who are known to be dead. `also`: what changes with it."""
        self._change((self.leased.lease_owner.in_(owners), self.leasable_rows()), RELEASED | also)

    def list_holders(self) -> list[str]:
        """Return the holders of rows, living or not."""
        query = select(self.leased.lease_owner).where(self.leasable_rows(), self.leased.lease_owner.is_not(None))
        with self.reading() as session:
            return [str(owner) for owner in session.scalars(query.distinct())]

    def _change(self, which: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> int:
        with self.transaction() as session:
            changed = session.execute(update(self.leased).where(*which).values(**values))
            return int(changed.rowcount)  # type: ignore[attr-defined]


class ScopedPart(StorePart):
    """A part whose rows belong to projects. Naming or listing rows raises NoScopeError until a scope is given."""

    def __init__(self, database: StoreDatabase, scope: ProjectScope | None) -> None:
        super().__init__(database)
        self._scope = scope

    @property
    def scope(self) -> ProjectScope:
        if self._scope is None:
            raise NoScopeError("the store was asked for rows without `scoped(project)` or `unscoped()`")
        return self._scope

    def visible_rows(self, table: type[tables.ProjectColumns]) -> ColumnElement[bool]:
        project = self.scope.project
        return true() if project is None else table.project == project

    def sees_job(self, job_id: str) -> ColumnElement[bool]:
        """Return the condition that the scope has the job, for queries of what belongs to it."""
        project = self.scope.project
        if project is None:
            return true()
        return exists().where(tables.JobRow.id == job_id, tables.JobRow.project == project)

    def require_job(self, session: Session, job_id: str) -> None:
        """Raise UnknownJobError if the scope has no such job. With the rows of all projects, it is not looked up."""
        if self.scope.project is not None and not session.scalar(select(self.sees_job(job_id))):
            raise UnknownJobError(f"no job {job_id!r} here; `tuneport jobs` lists them")

    def require_all_projects(self) -> None:
        """Raise NoScopeError if the store is not `unscoped()`: for housekeeping that covers all projects."""
        if self.scope.project is not None:
            raise NoScopeError("this covers all projects: it needs a store that is `unscoped()`")

    def if_visible(self, row: OfProject | None) -> OfProject | None:
        """Return the row, or None if it is another project's."""
        project = self.scope.project
        return row if row is not None and project in (None, row.project) else None


def select_store_records(*records: type[Any]) -> Select[Any]:
    """Return a query for records, which `read` and `query_one_store_record` run; of several kinds, `made` takes the
    answer apart."""
    return select(*(_TABLES[record] for record in records))


def build_store_record(record: type[Record], found: Sequence[Any]) -> Record:
    """Return the record of one answer. Frozen classes set each field by a call: here all are set at once."""
    new = object.__new__(record)
    vars(new).update(zip(_NAMES[record], found, strict=True))
    if isinstance(new, records.JobRecord):
        new.check_text()
    return new


def query_store_records(session: Session, record: type[Record], query: Select[Any]) -> list[Record]:
    return [build_store_record(record, found) for found in session.execute(query)]


def query_one_store_record(session: Session, record: type[Record], query: Select[Any]) -> Record | None:
    """Return the first record that the query finds, or None."""
    found = session.execute(query.limit(1)).first()
    return None if found is None else build_store_record(record, found)


def store_row_to_record(record: type[Record], row: tables.Base) -> Record:
    """Return the record of a row that was just written."""
    return build_store_record(record, [getattr(row, name) for name in _NAMES[record]])


def store_rows_after(table: type, created_at: datetime, id_: str, *, descending: bool) -> ColumnElement[bool]:
    """Return what comes after a row in the order of age, then of ids."""
    age, key = table.created_at, table.id  # type: ignore[attr-defined]
    if descending:
        return or_(age < created_at, and_(age == created_at, key < id_))
    return or_(age > created_at, and_(age == created_at, key > id_))
