"""How many numbers that states, banks and wallets give out are told from ones with a wrong character.

By kind: planted values (their check digits are made by other means than the checks, `benchmarks/planted_values.py`),
the same with one digit changed, and python-stdnum's own samples, which its authors took from the issuers' documents.
`PYTHONPATH=TREE/src python benchmarks/libraries/national_ids.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # run as a script, it finds its neighbours

from benchmarks import planted_values  # noqa: E402
from benchmarks.personal_data import LABELS  # noqa: E402
from tuneport.data.pii.search import find_personal_data  # noqa: E402

files = [
    "src/tuneport/data/pii/national_ids.py",
    "src/tuneport/data/pii/checksums.py",
    "src/tuneport/data/pii/accounts.py",
]
EACH = 200
KINDS = [*LABELS, "iban", "crypto_wallet", "card"]
SAMPLES = {
    "us.ssn": "us_ssn", "gb.nhs": "uk_nhs", "es.dni": "es_dni", "es.nie": "es_dni", "fr.nir": "fr_nir",
    "it.codicefiscale": "it_codice_fiscale", "de.idnr": "de_steuer_id", "in_.aadhaar": "in_aadhaar",
    "br.cpf": "br_cpf", "br.cnpj": "br_cnpj", "ca.sin": "ca_sin", "nl.bsn": "nl_bsn", "pl.pesel": "pl_pesel",
    "se.personnummer": "se_personnummer", "no.fodselsnummer": "no_fodselsnummer", "dk.cpr": "dk_cpr",
    "fi.hetu": "fi_hetu", "be.nn": "be_national_number", "ch.ssn": "ch_ahv", "cn.ric": "cn_resident_id",
    "tr.tckimlik": "tr_kimlik", "au.tfn": "au_tfn", "kr.rrn": "kr_rrn", "jp.in_": "jp_my_number", "iban": "iban",
}  # fmt: skip
"""python-stdnum's modules, whose documentation has samples."""


def is_found(kind: str, value: str) -> bool:
    text = f"{LABELS.get(kind, [kind])[0]}: {value} "
    return any(match.kind == kind for match in find_personal_data(text))


def change_a_digit(draw: random.Random, value: str) -> str:
    at = draw.choice([at for at, each in enumerate(value) if each.isdigit()])
    return value[:at] + draw.choice([each for each in "0123456789" if each != value[at]]) + value[at + 1 :]


def published() -> list[tuple[str, str, bool]]:
    """Return kind, sample, and whether the documentation calls it valid."""
    found = []
    for module, kind in SAMPLES.items():
        text = import_module(f"stdnum.{module}").__doc__ or ""
        for value, answer in re.findall(r">>> validate\('([^']+)'\)\n(.*)", text):
            found.append((kind, value, not answer.startswith("Traceback")))
    return found


def main() -> None:
    draw = random.Random(7)
    planted = [(kind, getattr(planted_values, kind)(draw)) for kind in KINDS for _ in range(EACH)]
    checked = [each for each in planted if each[0] not in ("us_ssn", "in_pan", "uk_nino", "dk_cpr", "kr_rrn")]
    changed = [(kind, change_a_digit(draw, value)) for kind, value in checked if not value.startswith(("0x", "bc1"))]
    for each in planted[::EACH]:
        is_found(*each)  # loads what it needs
    started = time.perf_counter()
    found = sum(is_found(*each) for each in planted)
    alarms = sum(is_found(*each) for each in changed)
    seconds = time.perf_counter() - started
    samples = published()
    wrong = sum(is_found(kind, value) != is_valid for kind, value, is_valid in samples)
    measures = {
        "planted values found, per cent": round(100 * found / len(planted), 2),
        "found with a digit changed, per cent": round(100 * alarms / len(changed), 2),
        f"judged unlike their documentation, of {len(samples)} published samples": wrong,
        "values a second": round((len(planted) + len(changed)) / seconds),
    }
    print(json.dumps({"part": "national ids and accounts", "measures": measures}))


if __name__ == "__main__":
    main()
