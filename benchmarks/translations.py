"""Sentences in 90 languages that their translators wrote for Django: judges of detectors that played no part in them.

Read from Django's wheel, which pip downloads once into the folder for temporary files.
"""

from __future__ import annotations

import gettext
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RELEASE = "django==5.2.19"
FOLDER = Path(tempfile.gettempdir()) / "tuneport-benchmarks"
NAMES = {"nb": "no", "zh_Hans": "zh", "zh_Hant": "zh", "sr_Latn": "sr"}  # others of a language differ by its country
MIN_LENGTH = 15  # characters
_PLACEHOLDER = re.compile(r"%\(\w+\)[sdri]|%[sdri%]|\{\w*\}|<[^>]*>")


def wheel() -> Path:
    """Return the wheel, downloaded if it is not there yet."""
    if not list(FOLDER.glob("django-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(FOLDER), RELEASE]
        subprocess.run(command, check=True)
    return next(FOLDER.glob("django-*.whl"))


def sentences() -> list[tuple[str, str]]:
    """Return the language (ISO 639-1, or 639-3) and the text, without placeholders and tags, each once."""
    found: dict[tuple[str, str], None] = {}
    with zipfile.ZipFile(wheel()) as packed:
        for name in sorted(packed.namelist()):
            if not name.endswith("/LC_MESSAGES/django.mo"):
                continue
            locale = name.split("/")[-3]
            language = NAMES.get(locale, locale.split("_")[0])
            for source, text in gettext.GNUTranslations(io.BytesIO(packed.read(name)))._catalog.items():
                plain = " ".join(_PLACEHOLDER.sub("", text).split())
                if source and text != (source if isinstance(source, str) else source[0]) and len(plain) >= MIN_LENGTH:
                    found[language, plain] = None
    return list(found)
