"""Diagnosis of the configuration: what works, what is unreachable or missing; each finding says what to do."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

from tuneport import private
from tuneport.backends import backend_manifest, backend_names, open_backend
from tuneport.backends.hosted.provider_errors import redact_provider_url
from tuneport.errors import TuneportError, UnsupportedError
from tuneport.formatting import counted, money
from tuneport.gpus import list_gpus
from tuneport.installation import install_extra
from tuneport.lifecycle.proposing.terms import job_term_documents, list_backend_terms
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.store import Store
from tuneport.settings import Settings

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class DoctorFinding:
    subject: str
    verdict: Verdict
    message: str
    fix: str = ""


def list_backend_states(settings: Settings, today: date) -> list[dict[str, Any]]:
    """Return one row a backend, without a network call: its kind, whether it can be used, and its known end."""
    rows = []
    for name in backend_names(settings):
        manifest = backend_manifest(name, settings)
        key_variable = manifest.api_key_env
        base_url = settings.base_url(name, manifest.base_url)
        configured = key_variable is None or settings.secret(key_variable) is not None
        missing = _missing_packages(manifest.extra)
        rows.append(
            {
                "name": name,
                "title": manifest.title,
                "default": settings.backend == name,
                "configured": configured and not missing and (key_variable is None or base_url is not None),
                "base_url": None if base_url is None else redact_provider_url(base_url),
                "api_key_env": key_variable,
                "key_set": None if key_variable is None else configured,
                "missing_packages": missing,
                "install": install_extra(manifest.extra) if manifest.extra and missing else None,
                "no_new_jobs_from": manifest.no_new_jobs_from and manifest.no_new_jobs_from.isoformat(),
                "accepts_new_jobs": manifest.no_training is None
                and (manifest.no_new_jobs_from is None or today < manifest.no_new_jobs_from),
                "models": len(manifest.models),
                "notices": [notice.text for notice in manifest.notices],
                "terms": job_term_documents(list_backend_terms(manifest)),
            }
        )
    return rows


def doctor(settings: Settings | None = None, today: date | None = None) -> Iterator[DoctorFinding]:
    """Look at this machine, the store and every backend; network calls only to backends that have a key."""
    settings, today = settings or Settings.load(), today or date.today()
    yield DoctorFinding("python", "ok", f"Python {platform.python_version()} on {platform.platform(terse=True)}")
    yield from _home(settings)
    yield _store(settings)
    yield from _files(settings)
    yield _month(settings)
    yield _device()
    rows = list_backend_states(settings, today)
    with ThreadPoolExecutor() as pool:
        for findings in pool.map(lambda row: list(_backend(row, settings)), rows):
            yield from findings


def _home(settings: Settings) -> Iterator[DoctorFinding]:
    try:
        private.make_private_folder(settings.home)
        private.make_home_private(settings.home)
        probe = settings.home / f".doctor-{os.getpid()}"
        private.make_private_file(probe)
        probe.unlink()
    except OSError as error:
        yield DoctorFinding("home", "fail", f"{settings.home} cannot be written: {error.strerror}", "set TUNEPORT_HOME")
        return
    free_gib = shutil.disk_usage(settings.home).free / 2**30
    verdict: Verdict = "ok" if free_gib >= 10 else "warn"
    fix = "" if free_gib >= 10 else "checkpoints and base models need room: free some, or set TUNEPORT_HOME"
    yield DoctorFinding("home", verdict, f"{settings.home}, {free_gib:,.0f} GiB free", fix)
    if settings.project_path is not None:
        yield DoctorFinding("project", "ok", f"{settings.project_path}")


def _store(settings: Settings) -> DoctorFinding:
    try:
        with closing(Store(settings.database_url).unscoped()) as store:
            unfinished = store.jobs.count_unfinished()
    except TuneportError as error:
        return DoctorFinding("store", "fail", str(error))
    return DoctorFinding(
        "store", "ok", f"{store.database.engine.dialect.name}, {counted(unfinished, 'unfinished job')}"
    )


def _files(settings: Settings) -> Iterator[DoctorFinding]:
    """Yield a finding on where a gateway keeps clients' uploads, if that is not in the home: whether a file can be kept
    there."""
    try:
        if settings.files_url is None:
            return
        with JobService(settings) as workspace:
            workspace.contents.check_writable()
    except TuneportError as error:
        yield DoctorFinding("files", "fail", str(error))
        return
    yield DoctorFinding("files", "ok", f"{settings.files_url} takes files")


def _month(settings: Settings) -> DoctorFinding:
    """Return the cost of this month's jobs and TUNEPORT_MONTHLY_BUDGET, if that is set."""
    try:
        cap = settings.monthly_budget
        with closing(Store(settings.database_url).unscoped()) as store:
            month = store.statistics.sum_month()
    except TuneportError as error:
        return DoctorFinding("budget", "fail", str(error))
    unknown = f"; cost unknown for {', '.join(month.unknown[:3])}" if month.unknown else ""
    if cap is None:
        return DoctorFinding("budget", "ok", f"no cap (TUNEPORT_MONTHLY_BUDGET); {month}{unknown}")
    verdict: Verdict = "warn" if month.unknown or month.total >= cap else "ok"
    fix = "jobs that cost anything are refused until the next month" if verdict == "warn" else ""
    return DoctorFinding("budget", verdict, f"{month}{unknown}, of at most {money(cap)}", fix)


def _device() -> DoctorFinding:
    """Return the device that local training would run on. It asks the driver, since importing torch takes seconds."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return DoctorFinding("device", "ok", "Apple GPU (MPS)")
    listing = list_gpus()
    if listing.problem:
        return DoctorFinding(
            "device", "warn", f"the NVIDIA driver lists no GPU: {listing.problem}", "look at the driver"
        )
    if listing.gpus:
        cards = [
            gpu.name if gpu.total_gib is None else f"{gpu.name}, {gpu.total_gib * 1024:.0f} MiB" for gpu in listing.gpus
        ]
        return DoctorFinding("device", "ok", "; ".join(cards))
    return DoctorFinding(
        "device", "ok", f"no GPU; {os.cpu_count()} CPU cores train models of up to about 1B parameters"
    )


def _backend(row: dict[str, Any], settings: Settings) -> Iterator[DoctorFinding]:
    name = row["name"]
    if not row["accepts_new_jobs"] and row["no_new_jobs_from"]:
        yield DoctorFinding(
            name, "warn", f"takes no new jobs since {row['no_new_jobs_from']}", "choose another backend"
        )
    elif row["no_new_jobs_from"]:
        yield DoctorFinding(name, "warn", f"takes no new jobs from {row['no_new_jobs_from']} on", "plan to leave it")
    if row["missing_packages"]:
        yield DoctorFinding(name, "warn", f"needs {', '.join(row['missing_packages'])}", row["install"])
        return
    if row["key_set"] is False:
        yield DoctorFinding(
            name, "warn", f"{row['api_key_env']} is not set", f"export {row['api_key_env']}=... to use it"
        )
        return
    if row["base_url"] is None and row["api_key_env"] is not None:
        variable = f"TUNEPORT_{name.upper().replace('-', '_')}_BASE_URL"
        yield DoctorFinding(name, "warn", "needs your own address there", f"set {variable} to use it")
        return
    if row["base_url"] is None:
        yield DoctorFinding(name, "ok", "ready")
        return
    try:
        backend = open_backend(name, settings)
        try:
            count = sum(1 for _ in backend.list_jobs())
        finally:
            backend.close()
    except UnsupportedError:
        yield DoctorFinding(name, "ok", f"configured, {row['base_url']}")
    except TuneportError as error:
        yield DoctorFinding(name, "fail", str(error))
    else:
        yield DoctorFinding(name, "ok", f"{row['base_url']} answers; {count} jobs there")


def _missing_packages(extra: str | None) -> list[str]:
    """Return the distributions of `tuneport[extra]` that are not installed, read from tuneport's own metadata."""
    if extra is None:
        return []
    try:
        wanted = requires("tuneport") or []
    except PackageNotFoundError:  # run from a source folder that was never installed
        return [] if importlib.util.find_spec(extra) else [extra]
    missing = []
    for line in wanted:
        requirement, _, marker = line.partition(";")
        if f'extra == "{extra}"' not in marker.replace("'", '"') or "platform_system" in marker:
            continue
        name = requirement.split("[")[0].strip()
        for separator in "<>=!~ ":
            name = name.split(separator)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing
