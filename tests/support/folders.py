"""Where the checkout and its data are, for tests in whatever folder."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FIXTURES = CHECKOUT / "fixtures"
SHARED = Path(os.environ.get("TUNEPORT_SHARED", CHECKOUT.parent / "shared"))
