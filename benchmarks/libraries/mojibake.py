"""How much wrongly decoded text is found and repaired, and what is found in text that is right.

The text is sentences of Django's translators, as UTF-8 read in other encodings. `PYTHONPATH=TREE/src python
benchmarks/libraries/mojibake.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # run as a script, it finds its neighbours

from benchmarks.translations import sentences  # noqa: E402
from tuneport.data.checks.rows import residue  # noqa: E402

files = ["src/tuneport/data/checks/rows/residue.py", "src/tuneport/data/repair.py"]
ENCODINGS = ("cp1252", "latin-1", "cp1250", "cp1251", "mac-roman", "cp437")


def main() -> None:
    texts = [text for _, text in sentences()]
    repair: Callable[[str], str] = getattr(residue, "repair_mojibake", lambda text: text)
    residue.find_mojibake("It’s loaded before the time is taken")
    start = time.process_time()
    alarms = sum(residue.find_mojibake(text) is not None for text in texts)
    seconds = time.process_time() - start
    measures: dict[str, float] = {}
    for encoding in ENCODINGS:
        count = found = repaired = 0
        for text in texts[::3]:
            try:
                misread = text.encode().decode(encoding)
            except UnicodeDecodeError:
                continue
            if misread != text:
                count += 1
                found += residue.find_mojibake(misread) is not None
                repaired += repair(misread) == text
        measures[f"found, of 100 read as {encoding}"] = round(100 * found / count, 1)
        measures[f"repaired exactly, of 100 read as {encoding}"] = round(100 * repaired / count, 1)
    measures[f"false alarms, of {len(texts):,} texts"] = alarms
    measures["texts a second"] = round(len(texts) / seconds)
    print(json.dumps({"part": "mojibake", "measures": measures}))


if __name__ == "__main__":
    main()
