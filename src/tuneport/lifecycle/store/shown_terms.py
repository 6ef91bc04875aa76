"""The record of terms that were shown already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tuneport.lifecycle.schema.tables import ShownTermsRow
from tuneport.lifecycle.store.part import StorePart
from tuneport.types import now


class ShownTermsStore(StorePart):
    def first_showing(self, subject: str, texts: Sequence[str], *, mark: bool = True) -> bool:
        """Return whether these terms of `subject` have not been shown before; with `mark`, from now on they have."""
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        with self.transaction() as session:
            row = session.get(ShownTermsRow, subject)
            if row is not None and row.digest == digest:
                return False
            if mark:
                session.merge(ShownTermsRow(subject=subject, digest=digest, shown_at=now()))
            return True
