"""How many international phone numbers are found in a sentence, and how much else is taken for one.

The numbers are libphonenumber's examples of a mobile and a fixed line of every region, with their last four digits
drawn anew (the examples count up: 12345678, which nobody has) until libphonenumber calls them valid; each is written in
three ways. Look-alikes are `benchmarks/planted_values.py`'s, and numbers with a country code that nobody has.
`PYTHONPATH=TREE/src python benchmarks/libraries/phone_numbers.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import phonenumbers

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # run as a script, it finds its neighbours

from benchmarks.personal_data import rows  # noqa: E402
from tuneport.data.pii.search import find_personal_data  # noqa: E402

files = ["src/tuneport/data/pii/phone.py"]
UNASSIGNED = ("210", "384", "801", "851", "997")


def example_numbers(draw: random.Random) -> list[phonenumbers.PhoneNumber]:
    found = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            for _ in range(200):
                other = phonenumbers.parse(f"{text[:-4]}{draw.randrange(10_000):04}")
                if phonenumbers.is_valid_number(other):
                    found.append(other)
                    break
    return found


def written(number: phonenumbers.PhoneNumber) -> list[str]:
    spaced = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    bare = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return [spaced, bare, f"00{bare[1:]}"]


def is_found(value: str) -> bool:
    text = f"It was {value} again, they said."
    start = text.index(value)
    return any(
        match.kind == "phone" and match.start <= start and start + len(value) <= match.end
        for match in find_personal_data(text)
    )


def main() -> None:
    draw = random.Random(7)
    examples = [written(number) for number in example_numbers(draw)]
    is_found(examples[0][0])  # loads what it needs
    started = time.perf_counter()
    missed = [ways for ways in examples if not all(map(is_found, ways))]
    seconds = time.perf_counter() - started
    invented = [f"+{code} {draw.randrange(10**8, 10**9)}" for code in UNASSIGNED for _ in range(40)]
    looking_alike = [row.text for row in rows(200, seed=11) if not row.kind]
    alarms = sum(match.kind == "phone" for text in looking_alike for match in find_personal_data(text))
    measures = {
        f"missed, of {len(examples)} numbers in three ways": len(missed),
        f"found of {len(invented)} with a country code that nobody has": sum(map(is_found, invented)),
        f"taken for a phone number, of {len(looking_alike)} texts that look alike": alarms,
        "numbers a second": round(3 * len(examples) / seconds),
    }
    print(json.dumps({"part": "phone numbers", "measures": measures}))


if __name__ == "__main__":
    main()
