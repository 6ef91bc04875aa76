from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
