"""How much of the planted personal data is found, and how often something else is taken for it.

    python benchmarks/personal_data.py [--each 250] [--seed 7] [--data FOLDER] [--presidio]

Plants `--each` values of every kind (planted_values.py: own generators, own check digits) into sentences of several
languages, one national id in twenty without any word that says what it is, and beside them four times as many rows
that only look like something. Recall: planted values found under their own kind, covering the whole value. Precision:
of what is reported as a kind, the share that was planted as it. With `--presidio`, the same rows and columns for the
pattern recognisers of presidio-analyzer, without its language models and so without its context words, whatever the
score; that suits its recall and costs its precision. It looks for Bitcoin wallets only, ours for Ethereum's, too.

`--data` names a folder of clean datasets; every row flagged there is shown. Read by eye on the five files of the
project's shared data (1,616 rows): 14 rows are flagged, none of them wrongly by shape. alpaca_en_demo.json 358 holds
two invented addresses at email.com, a real mail provider; glaive_toolcall_en_demo.json 32, 59, 68, 167, 194 and 251
boss@company.com, and 49, 97, 102, 168, 181, 218 and 235 passwords that a tool has drawn. No scanner can know that
these are invented, and a person who reads the finding can.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it finds its neighbours

from benchmarks import planted_values as planted
from tuneport.data.checks.rows.personal import find_in_record
from tuneport.data.pii.search import find_personal_data
from tuneport.data.pii.spans import join_span_texts
from tuneport.data.reading import read_records

UNNAMED = 0.05
FILLER = [
    "I ordered a kettle last week and it has not arrived yet.", "Could you look into it, please?",
    "Ich habe seit Montag nichts mehr gehört.", "Merci de votre aide !", "Gracias, espero su respuesta.",
    "Grazie mille e buona giornata.", "よろしくお願いします。", "The lamp flickers whenever the fridge starts.", "",
]  # fmt: skip
SENTENCES = [
    "My address: {}",
    "Schreib an {} bitte.",
    "({})",
    "c'est {}, merci",
    "contacto: {}",
    "It was {} again",
    '{{"value": "{}"}}',
]
LABELLED = [
    "{0}: {1}",
    "my {0} is {1}",
    "Meine {0} lautet {1}.",
    "Mi {0} es {1}",
    "{0} {1}",
    '{{"{0}": "{1}"}}',
    "{1} ({0})",
]
LABELS = {
    "us_ssn": ["SSN", "social security number"], "uk_nino": ["National Insurance number",
    "NINO"], "uk_nhs": ["NHS number", "NHS no"],
    "es_dni": ["DNI", "NIE"], "fr_nir": ["numéro de sécurité sociale",
    "NIR"], "it_codice_fiscale": ["codice fiscale", "C.F."],
    "de_steuer_id": ["Steuer-ID", "Steueridentifikationsnummer", "IdNr"], "in_aadhaar": ["Aadhaar", "Aadhaar number"],
    "in_pan": ["PAN", "PAN card"], "br_cpf": ["CPF"], "br_cnpj": ["CNPJ"], "ca_sin": ["SIN",
    "social insurance number", "NAS"],
    "nl_bsn": ["BSN", "burgerservicenummer"], "pl_pesel": ["PESEL", "numer PESEL"], "se_personnummer": ["personnummer"],
    "no_fodselsnummer": ["fødselsnummer"], "dk_cpr": ["CPR-nummer", "CPR"], "fi_hetu": ["henkilötunnus", "HETU"],
    "be_national_number": ["rijksregisternummer", "numéro national"], "ch_ahv": ["AHV-Nummer", "numéro AVS"],
    "cn_resident_id": ["身份证号", "resident ID"], "tr_kimlik": ["T.C. kimlik no", "TCKN"], "au_tfn": ["TFN",
    "tax file number"],
    "sg_nric": ["NRIC", "FIN"], "kr_rrn": ["주민등록번호", "RRN"], "jp_my_number": ["マイナンバー", "個人番号"],
}  # fmt: skip
OTHERS = [
    "email",
    "phone",
    "ip_address",
    "mac_address",
    "url_credentials",
    "card",
    "iban",
    "crypto_wallet",
    "api_key",
    "secret",
]
KINDS = [*OTHERS, *LABELS]


class Row(NamedTuple):
    """`kind` is "" for a row that holds nothing."""

    text: str
    kind: str
    start: int
    end: int


class Score(NamedTuple):
    recall: float
    precision: float
    planted: int


def rows(each: int, seed: int) -> list[Row]:
    draw = random.Random(seed)
    found = [_row(draw, kind) for kind in KINDS for _ in range(each)]
    found += [_placed(draw, planted.look_alike(draw), "") for _ in range(each * 4)]
    draw.shuffle(found)
    return found


def _row(draw: random.Random, kind: str) -> Row:
    value = getattr(planted, kind)(draw)
    if "\0" in value:  # it brings its own sentence
        return _placed(draw, value, kind)
    value = f"\0{value}\0"
    if kind in LABELS and draw.random() >= UNNAMED:
        return _placed(draw, draw.choice(LABELLED).format(draw.choice(LABELS[kind]), value), kind)
    return _placed(draw, draw.choice(SENTENCES).format(value), kind)


def _placed(draw: random.Random, sentence: str, kind: str) -> Row:
    text = draw.choice([" ", "\n"]).join([draw.choice(FILLER), sentence, draw.choice(FILLER)])
    if not kind:
        return Row(text, "", 0, 0)
    before, value, after = text.split("\0")
    return Row(before + value + after, kind, len(before), len(before) + len(value))


Found = Iterable[tuple[str, int, int]]  # kind, start, end


def score(
    tested: list[Row], search: Callable[[str], Found]
) -> tuple[dict[str, Score], float, list[tuple[Row, list[tuple[str, int, int]]]]]:
    """Scores by kind, rows a second, and the rows with something missed or wrong."""
    planted_count: Counter[str] = Counter(row.kind for row in tested if row.kind)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seconds, bad = 0.0, []
    for row in tested:
        started = time.perf_counter()
        matches = list(search(row.text))
        seconds += time.perf_counter() - started
        covered = any(kind == row.kind and start <= row.start and row.end <= end for kind, start, end in matches)
        right[row.kind] += covered
        outside = [kind for kind, start, end in matches if kind != row.kind or end <= row.start or start >= row.end]
        wrong.update(outside)
        if outside or (row.kind and not covered):
            bad.append((row, matches))
    scores = {
        kind: Score(right[kind] / count, right[kind] / max(1, right[kind] + wrong[kind]), count)
        for kind, count in planted_count.items()
    }
    return scores, len(tested) / seconds, bad


def ours(text: str) -> Found:
    return [(match.kind, match.start, match.end) for match in find_personal_data(text)]


_PRESIDIO = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip_address", "MAC_ADDRESS": "mac_address",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban", "CRYPTO": "crypto_wallet", "US_SSN": "us_ssn", "UK_NINO": "uk_nino", "UK_NHS": "uk_nhs",
    "ES_NIF": "es_dni",
    "ES_NIE": "es_dni", "IT_FISCAL_CODE": "it_codice_fiscale", "IN_AADHAAR": "in_aadhaar", "IN_PAN": "in_pan",
    "PL_PESEL": "pl_pesel",
    "FI_PERSONAL_IDENTITY_CODE": "fi_hetu", "AU_TFN": "au_tfn", "SG_NRIC_FIN": "sg_nric", "KR_RRN": "kr_rrn",
    "DE_TAX_ID": "de_steuer_id",
    "SE_PERSONNUMMER": "se_personnummer", "TR_NATIONAL_ID": "tr_kimlik",
}  # fmt: skip


def presidio() -> Callable[[str], Found]:
    """ImportError where presidio-analyzer is not installed. The overlap rule is ours: the higher score wins."""
    import logging

    import tldextract
    from presidio_analyzer import predefined_recognizers as recognisers

    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())  # no network: the bundled list
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    loaded = []
    for name in dir(recognisers):
        try:
            each = getattr(recognisers, name)()
        except Exception:  # a base class, or one that needs a model or a service
            continue
        if set(getattr(each, "supported_entities", ())) & set(_PRESIDIO):
            loaded.append(each)

    def search(text: str) -> Found:
        results = [
            result
            for each in loaded
            for result in each.analyze(text, each.supported_entities, None)  # type: ignore[arg-type]
            if result.entity_type in _PRESIDIO
        ]
        kept: list[tuple[str, int, int]] = []
        for result in sorted(results, key=lambda each: -each.score):
            if all(result.end <= start or result.start >= end for _, start, end in kept):
                kept.append((_PRESIDIO[result.entity_type], result.start, result.end))
        return kept

    return search


def clean_files(folder: Path) -> dict[str, tuple[int, dict[int, str]]]:
    """By file: rows, and what is flagged by line."""
    found: dict[str, tuple[int, dict[int, str]]] = {}
    for path in sorted(folder.glob("*.json*")):
        count, flagged = 0, defaultdict(list)
        for line, record in read_records(path):
            count += 1
            for match in find_in_record(record):
                flagged[line].append(f"{match.kind} {match.masked}")
        found[path.name] = count, {line: ", ".join(sorted(set(each))) for line, each in flagged.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=250)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--presidio", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="print that many rows with something missed or wrong")
    arguments = parser.parse_args()
    tested = rows(arguments.each, arguments.seed)
    scores, speed, bad = score(tested, ours)
    others: dict[str, Score] = {}
    if arguments.presidio:
        try:
            others, other_speed, _ = score(tested, presidio())
        except ImportError:
            print("presidio-analyzer is not installed: its columns are left out")
    print(f"| {'kind':18} | planted | recall | precision |" + (" presidio recall | precision |" if others else ""))
    print("| --- | ---: | ---: | ---: |" + (" ---: | ---: |" if others else ""))
    looked_for = set(_PRESIDIO.values())
    for kind in KINDS:
        line = f"| {kind:18} | {scores[kind].planted:7} | {scores[kind].recall:6.1%} | {scores[kind].precision:9.1%} |"
        if others:
            known = kind in looked_for
            line += (
                f" {others[kind].recall:15.1%} | {others[kind].precision:9.1%} |"
                if known
                else "               - |         - |"
            )
        print(line)
    print(f"{len(tested):,} rows at {speed:,.0f} rows/s" + (f"; presidio {other_speed:,.0f} rows/s" if others else ""))
    for row, matches in bad[: arguments.show]:
        print(f"  {row.kind or 'nothing'}: {row.text!r} -> {matches}")
    if arguments.data:
        total = flagged_rows = 0
        for name, (count, flagged) in clean_files(arguments.data).items():
            total, flagged_rows = total + count, flagged_rows + len(flagged)
            print(f"{name}: {count} rows, {len(flagged)} flagged")
            for line_number, what in flagged.items():
                print(f"  line {line_number}: {what}")
        texts = [
            join_span_texts(record)
            for path in sorted(arguments.data.glob("*.json*"))
            for _, record in read_records(path)
        ]
        texts = [(text * (900 // max(1, len(text)) + 1))[:900] for text in texts]
        started = time.perf_counter()
        for text in texts:
            find_personal_data(text)
        each_row = (time.perf_counter() - started) / len(texts)
        print(
            f"{flagged_rows / total * 1000:.1f} flagged in 1,000 rows; "
            f"{each_row * 1e6:.1f} microseconds for 900 characters"
        )


if __name__ == "__main__":
    main()
