"""How often the language of a text is told, how often wrongly, on sentences of Django's translators.

Only the half that played no part in choosing the thresholds. `PYTHONPATH=TREE/src python
benchmarks/libraries/language.py` prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # run as a script, it finds its neighbours

from benchmarks.translations import sentences  # noqa: E402
from tuneport.data.checks.rows.language import detect_language  # noqa: E402

MOST_SPOKEN = frozenset("en es de fr it pt nl pl tr sv ru uk ja zh ko ar hi".split())  # those of the word lists before
files = [
    "src/tuneport/data/checks/rows/language.py",
    "src/tuneport/data/checks/rows/words/language_names.py",
    "src/tuneport/data/checks/rows/words/language_words.py",
]


def main() -> None:
    texts = [each for each in sentences() if hashlib.md5(each[1].encode()).digest()[-1] % 2]
    measures: dict[str, float] = {}
    detect_language("The model is loaded before the time is taken.")
    start = time.process_time()
    found = [(language, detect_language(text), len(text)) for language, text in texts]
    seconds = time.process_time() - start
    for words, least, most in (("60 and more characters", 60, 10_000), ("15 to 59 characters", 15, 60)):
        for whose, of_these in (("the 17 most spoken languages", True), ("72 other languages", False)):
            told = [
                (language, named)
                for language, named, length in found
                if least <= length < most and (language in MOST_SPOKEN) == of_these
            ]
            right = sum(named == language for language, named in told)
            wrong = sum(named not in (None, language) for language, named in told)
            measures[f"right, of 100 texts of {words} in {whose}"] = round(100 * right / len(told), 2)
            measures[f"wrong, of 100 texts of {words} in {whose}"] = round(100 * wrong / len(told), 2)
    measures["texts a second"] = round(len(texts) / seconds)
    print(json.dumps({"part": "language", "measures": measures}))


if __name__ == "__main__":
    main()
