"""Consent to personal data: none of it goes to a third party without it."""

from __future__ import annotations

from tuneport.errors import ConfigError
from tuneport.types import PreparedData, TuneSpec


def refuse_personal_upload(spec: TuneSpec, data: PreparedData, backend: str) -> None:
    """Look at the very files that would be uploaded."""
    from tuneport.data.checks.rows.personal import scan_personal_data

    for source, file in ((spec.dataset, data.training), (spec.validation, data.validation)):
        if file is None:
            continue
        found = scan_personal_data(file.path, file.format)
        if found.count:
            first = found.matches[0]
            raise ConfigError(
                f"{source} holds what looks like personal data ({found.count} places; {first.kind} in record "
                f"{first.line}) and {backend} is a third party; `tuneport check` shows them, `tuneport clean "
                "--redact` replaces them, --allow-personal-data uploads them anyway"
            )
