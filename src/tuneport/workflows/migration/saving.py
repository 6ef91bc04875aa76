"""Downloads what an account has, before it can no longer be had. A second run fetches only what is not there yet."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tuneport import private
from tuneport.backends.openai.jobs import parse_openai_metrics_csv
from tuneport.backends.secrets import (
    compile_secret_pattern,
    encode_secret_forms,
    known_backend_secrets,
    redact_backend_secrets,
)
from tuneport.digests import sha256_of
from tuneport.errors import (
    AuthError,
    NotFoundError,
    ProviderError,
    RateLimitError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.lifecycle.submitting.spec_file import format_job_spec_file
from tuneport.settings import Settings
from tuneport.types import MetricPoint, RemoteFile
from tuneport.workflows.migration.folder import (
    MissingItem,
    SavedAccountFolder,
    SavedFile,
    SavedJob,
)
from tuneport.workflows.migration.inventory import MigrationAccount
from tuneport.workflows.migration.origin import MigrationSourceJob

T = TypeVar("T")

_log = logging.getLogger(__name__)
_THREADS = 4
_MOST_OUTAGES = 5
"""After so many questions in a row without an answer, the provider counts as down."""
_LONGEST_WAIT = 3600.0
"""Seconds; a provider that wants to be left alone for longer counts as down."""


@dataclass
class MigrationSaveReport:
    """The result of saving. `fetched` and `kept` count files, `bytes` those that were fetched."""

    folder: Path
    jobs: int = 0
    fetched: int = 0
    bytes: int = 0
    kept: int = 0
    missing: list[tuple[str, MissingItem]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": "tuneport.saved",
            "folder": str(self.folder),
            "jobs": self.jobs,
            "files_fetched": self.fetched,
            "bytes_fetched": self.bytes,
            "files_kept": self.kept,
            "missing": [{"job": job_id or None} | missing.model_dump(mode="json") for job_id, missing in self.missing],
        }


@dataclass(frozen=True)
class AccountSaveProgress:
    """The progress of saving: `done` of `total` jobs and loose files."""

    done: int
    total: int
    what: str
    report: MigrationSaveReport


class MigrationAccountSaver:
    """One run of saving. Jobs are worked on by a few threads; a file that several jobs use is fetched once."""

    def __init__(
        self, account: MigrationAccount, folder: SavedAccountFolder, settings: Settings, own_files: Path
    ) -> None:
        self._account, self._folder, self._own_files = account, folder, own_files
        self._secrets = compile_secret_pattern(
            form for secret in known_backend_secrets(settings) for form in encode_secret_forms(secret)
        )
        self.report = MigrationSaveReport(folder.path)
        self._counting = threading.Lock()
        self._per_file: dict[str, threading.Lock] = {}
        self._told: set[str] = set()
        self._outages = 0
        self._stopped = threading.Event()

    def run(
        self,
        jobs: Sequence[MigrationSourceJob],
        loose: Sequence[RemoteFile],
        on_progress: Callable[[AccountSaveProgress], None],
    ) -> MigrationSaveReport:
        """Store `jobs`, and `loose` files that belong to none, in the folder. It raises only errors that make the rest
        useless: a refused key, a full disk, a provider that is down. What was saved by then stays, and the next run
        continues."""
        work: list[tuple[str, Callable[[], None]]] = []
        for job in jobs:
            work.append((job.id, _bind_argument(self._save_job, job)))
        for file in loose:
            work.append((file.id, _bind_argument(self._save_loose, file)))
        try:
            for done, what in enumerate(_in_threads(work, stop=self._stopped.set), start=1):
                on_progress(AccountSaveProgress(done, len(work), what, self.report))
        finally:
            self._stopped.set()
        self._folder.clear_downloads()
        self.report.jobs = len(jobs)
        return self.report

    # --- a job ------------------------------------------------------------------------------------------------------

    def _save_job(self, job: MigrationSourceJob) -> None:
        missing = [lost for purpose, file_id in job.files if (lost := self._save_file(purpose, file_id, job))]
        before = self._folder.record(job.id)
        documents: dict[str, str] = {}
        told = job.status.terminal
        if before is None or not before.complete or before.job != job:
            for name, read in (("events.jsonl", self._events), ("metrics.jsonl", self._metrics)):
                try:
                    documents[name] = self._clean(self._asked(lambda read=read: read(job)))  # type: ignore[misc]
                except UnsupportedError:
                    continue
                except ProviderError as error:
                    self._judge(error)
                    told = False
                    missing.append(MissingItem(what=name.partition(".")[0], id=job.id, reason=str(error)))
            try:
                listed = self._asked(lambda: self._account.backend.checkpoints(job.id))
                points = [point.model_dump(mode="json") for point in listed]
                documents["checkpoints.json"] = self._clean(json.dumps(points, indent=1, default=str) + "\n")
            except UnsupportedError:
                pass
            except ProviderError as error:
                self._judge(error)
                told = False
                missing.append(MissingItem(what="checkpoints", id=job.id, reason=str(error)))
        spec_path = self._folder.job_folder(job.id) / "spec.toml"
        spec = self._clean(_spec_of(job, self._folder, missing))
        as_written = before.spec_sha256 if before is not None else None
        if not spec_path.is_file() or as_written is not None and sha256_of(spec_path) == as_written:
            documents["spec.toml"] = spec
            as_written = hashlib.sha256(spec.encode()).hexdigest()
        ends = self._account.ends(job)
        record = SavedJob(
            job=job,
            title=self._account.manifest.title,
            no_new_jobs_from=ends.no_new_jobs_from,
            stops_answering_on=ends.stops_answering_on,
            missing=tuple(missing),
            complete=told,
            spec_sha256=as_written,
        )
        if record != before or documents.keys() - {"spec.toml"}:
            self._folder.write_saved_job(SavedJob.model_validate_json(self._clean(record.model_dump_json())), documents)
        with self._counting:
            self.report.missing += [(job.id, lost) for lost in missing]

    def _events(self, job: MigrationSourceJob) -> str:
        return _json_lines(event.model_dump(mode="json") for event in self._account.backend.events(job.id))

    def _metrics(self, job: MigrationSourceJob) -> str:
        """Return the metrics, from the saved result file if there is one: asking the backend would fetch it again."""
        points: Sequence[MetricPoint] = []
        for file_id in job.result_files:
            path = self._folder.has_file(file_id)
            if path is not None:
                try:
                    points = parse_openai_metrics_csv(path.read_bytes())
                    break
                except ValueError:
                    continue  # not OpenAI's kind of result file
        return _json_lines(
            point.model_dump(mode="json", exclude_none=True)
            for point in points or self._account.backend.metrics(job.id)
        )

    # --- a file -----------------------------------------------------------------------------------------------------

    def _save_loose(self, file: RemoteFile) -> None:
        lost = self._save_file(file.purpose, file.id, None)
        if lost:
            with self._counting:
                self.report.missing.append(("", lost))

    def _save_file(self, purpose: str, file_id: str, job: MigrationSourceJob | None) -> MissingItem | None:
        with self._counting:
            lock = self._per_file.setdefault(file_id, threading.Lock())
        with lock:
            if self._folder.has_file(file_id) is not None:
                self._count(file_id, kept=1)
                return None
            own = self._own_copy(purpose, file_id, job)
            try:
                saved = self._asked(lambda: self._fetch(purpose, file_id, own))
            except NotFoundError:
                taken = own and self._take(own, purpose, file_id)
                if taken:
                    self._count(file_id, fetched=1, size=taken.bytes)
                    return None
                reason = f"{self._account.name} no longer has it: it was deleted there"
                return MissingItem(what=f"{purpose} file", id=file_id, reason=reason, gone=True)
            except (ProviderError, UnsupportedError) as error:
                self._judge(error)
                return MissingItem(what=f"{purpose} file", id=file_id, reason=str(error))
            if isinstance(saved, MissingItem):
                return saved
            self._outages = 0
            self._count(file_id, fetched=1, size=saved.bytes)
            return None

    def _fetch(self, purpose: str, file_id: str, own: RemoteFile | None) -> SavedFile | MissingItem:
        listed = self._account.files.get(file_id)
        wanted_hash = (listed.sha256 if listed else "") or (own.sha256 if own else "")
        target = self._folder.download_path(file_id)
        size = 0
        for _ in range(2):
            self._account.backend.save_file(file_id, target)
            size = target.stat().st_size
            right_size = listed is None or listed.bytes == size
            if right_size and (not wanted_hash or sha256_of(target) == wanted_hash):
                name = listed.filename if listed else own.filename if own else Path(file_id).name
                return self._folder.add_file(file_id, target, purpose=purpose, filename=name, source=self._account.name)
            target.unlink()
        said = "another content than was uploaded" if listed is None or listed.bytes == size else ""
        said = said or f"{size:,} bytes where it lists {listed.bytes if listed else 0:,}"
        return MissingItem(
            what=f"{purpose} file", id=file_id, reason=f"{self._account.name} sends {said}; run it again"
        )

    def _own_copy(self, purpose: str, file_id: str, job: MigrationSourceJob | None) -> RemoteFile | None:
        """Return our journal's line of the upload, if tuneport made it."""
        if job is None or job.tuneport_job is None:
            return None
        uploads = self._account.store.files.list_job_files(job.tuneport_job)
        return next((file for file in uploads if file.id == file_id and file.purpose == purpose), None)

    def _take(self, own: RemoteFile, purpose: str, file_id: str) -> SavedFile | None:
        """Take what tuneport had uploaded from its own folder. Returns None if that copy is gone, too, or damaged."""
        copy = self._own_files / f"{own.sha256}.jsonl"
        if not copy.is_file() or sha256_of(copy) != own.sha256:
            return None
        target = self._folder.download_path(file_id)
        private.make_private_file(target)
        shutil.copyfile(copy, target)
        return self._folder.add_file(file_id, target, purpose=purpose, filename=own.filename, source="tuneport")

    # --- small things -----------------------------------------------------------------------------------------------

    def _count(self, file_id: str, *, fetched: int = 0, kept: int = 0, size: int = 0) -> None:
        with self._counting:
            if file_id not in self._told:
                self._told.add(file_id)
                self.report.fetched, self.report.kept = self.report.fetched + fetched, self.report.kept + kept
                self.report.bytes += size

    def _asked(self, question: Callable[[], T]) -> T:
        """Return the answer; if the provider asks for a pause, it is asked once more after that.

        Until then every question would fail here at once, which says nothing of the provider.
        """
        try:
            return question()
        except RateLimitError as error:
            if error.retry_after is None or not error.retryable or error.retry_after > _LONGEST_WAIT:
                raise
            _log.warning("%s asks to be left alone for %.0f s; waiting", self._account.name, error.retry_after)
            if self._wait(error.retry_after):
                raise
        return question()

    def _wait(self, seconds: float) -> bool:
        """Return whether the wait ended early: the user stopped it, or another thread met an error."""
        return self._stopped.wait(seconds)

    def _judge(self, error: TuneportError) -> None:
        """Raise what will not be better with the next file."""
        if isinstance(error, AuthError):
            raise error
        if isinstance(error, (UnavailableError, RateLimitError)):
            self._outages += 1
            if self._outages >= _MOST_OUTAGES:
                raise error

    def _clean(self, text: str) -> str:
        """Return the text without keys of this machine's environment, which a provider may repeat."""
        return redact_backend_secrets(text, self._secrets)


def _spec_of(job: MigrationSourceJob, folder: SavedAccountFolder, missing: Iterable[MissingItem]) -> str:
    """Return the job's spec file. Missing items are comments in it."""
    comments = [f"{job.id} of {job.backend}, as it was run; `tuneport migrate --saved` reads this file, edit it freely"]
    comments += [
        f"not here: the {lost.what} {lost.id}: {lost.reason}" for lost in missing if lost.what.endswith("file")
    ]
    values: dict[str, Any] = {"model": job.model}
    for name, file_id in (("dataset", job.training_file), ("validation", job.validation_file)):
        path = folder.has_file(file_id) if file_id else None
        if path is not None:
            values[name] = os.path.relpath(path, folder.job_folder(job.id))
    if "dataset" not in values:
        comments.append('put it back with: dataset = "/path/of/your/copy.jsonl"')
    if job.other:
        comments.append(f"{job.backend}'s own settings: {json.dumps(job.other, ensure_ascii=True, default=str)}")
    values |= {
        "method": job.method.value if job.method else None,
        "adapter": job.adapter.value if job.adapter else None,
        "suffix": job.suffix,
        "seed": job.seed,
        "hyperparameters": job.hyperparameters,
        "metadata": job.metadata,
        "wandb": None if job.wandb is None else job.wandb.model_dump(mode="json", exclude_defaults=True),
        "grader": job.grader,
        "reward": job.reward,
        "reward_folder": None if job.reward_folder is None else str(job.reward_folder),
    }
    return format_job_spec_file(values, comments)


def _json_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _bind_argument(function: Callable[[Any], None], argument: Any) -> Callable[[], None]:
    return lambda: function(argument)


def _in_threads(work: Sequence[tuple[str, Callable[[], None]]], *, stop: Callable[[], None]) -> Iterator[str]:
    """Yield the names of finished items. Few run at a time, so that an error stops the rest before it begins.

    `stop` ends the waits of running ones: it is called before an error, or Ctrl-C, waits for them.
    """
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        running: dict[Future[None], str] = {}
        left = iter(work)
        while True:
            for name, call in left:
                running[pool.submit(call)] = name
                if len(running) >= _THREADS:
                    break
            if not running:
                return
            try:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            except BaseException:
                stop()
                raise
            for future in done:
                yield running.pop(future)
