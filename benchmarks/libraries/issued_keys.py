"""How many issuers' API keys are found, and how often something else is taken for one.

Keys are drawn at random in the forms that their issuers document and that trufflehog and gitleaks look for; none was
read off the rules that are measured. They stand in the ways in which texts hold keys. An issuer counts as found if nine
in ten of its keys are, whole, whatever they are called. Clean are the shared datasets and rows that look alike.
`PYTHONPATH=TREE/src python benchmarks/libraries/issued_keys.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import string
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, it finds its neighbours

from benchmarks.personal_data import rows  # noqa: E402
from tuneport.data.pii.search import find_personal_data  # noqa: E402
from tuneport.data.pii.spans import join_span_texts  # noqa: E402
from tuneport.data.reading import read_records  # noqa: E402

files = ["src/tuneport/data/pii/secrets.py", "src/tuneport/data/pii/issued_keys.py"]
SHARED = Path(os.environ.get("TUNEPORT_SHARED", ROOT / "shared")) / "data"

_POOLS = {
    "%": string.ascii_letters + string.digits,
    "~": string.ascii_letters + string.digits + "_-",
    "!": "0123456789abcdef",
    "^": string.ascii_uppercase + string.digits,
    "#": string.digits,
}
ISSUERS = {
    "Slack": "https://hooks.slack.com/services/T" + "^" * 10 + "/B" + "^" * 10 + "/" + "%" * 24,
    "Twilio": "SK" + "!" * 32,
    "Databricks": "dapi" + "!" * 32,
    "Docker": "dckr_pat_" + "~" * 27,
    "Vault": "hvs." + "~" * 95,
    "Doppler": "dp.pt." + "%" * 43,
    "Linear": "lin_api_" + "%" * 40,
    "Replicate": "r8_" + "%" * 37,
    "Grafana": "glsa_" + "%" * 32 + "_" + "!" * 8,
    "Square": "EAAA" + "~" * 60,
    "Perplexity": "pplx-" + "%" * 48,
    "xAI": "xai-" + "%" * 80,
    "Postman": "PMAK-" + "!" * 24 + "-" + "!" * 34,
    "Heroku": "HRKU-AA" + "~" * 58,
    "Notion": "ntn_" + "#" * 11 + "%" * 35,
    "Figma": "figd_" + "~" * 40,
    "Airtable": "pat" + "%" * 14 + "." + "!" * 64,
    "Telegram": "#" * 10 + ":AA" + "~" * 33,
    "Mailgun": "key-" + "!" * 32,
    "Sentry": "sntryu_" + "!" * 64,
    "New Relic": "NRAK-" + "^" * 27,
    "Atlassian": "ATATT3xFfGF0" + "~" * 171 + "=" + "^" * 8,
    "Terraform": "%" * 14 + ".atlasv1." + "%" * 67,
    "Mailchimp": "!" * 32 + "-us12",
    "Discord": "https://discord.com/api/webhooks/" + "#" * 19 + "/" + "~" * 68,
}
"""A stand-in for each character of the key; all else stands for itself. Chosen before anything was measured."""
SENTENCES = (
    "{name}: {key}",
    "I rotated it ({key}), and {name} still answers.",
    "Ask {name} with {key}, please.",
    "My {name} key is {key} and it stopped working.",
    "export {upper}_TOKEN={key}",
    '{{"{lower}_api_key": "{key}"}}',
    "curl -H 'Authorization: Bearer {key}' # {name}",
)


def draw_key(draw: random.Random, issuer: str) -> str:
    return "".join(draw.choice(_POOLS[each]) if each in _POOLS else each for each in ISSUERS[issuer])


def draw_row(draw: random.Random, issuer: str) -> tuple[str, str]:
    """Return a text and the key in it."""
    key, name = draw_key(draw, issuer), issuer.replace(" ", "_")
    sentence = draw.choice(SENTENCES)
    return sentence.format(name=issuer, key=key, upper=name.upper(), lower=name.lower()), key


def issuers_found(seed: int, each: int = 40) -> dict[str, float]:
    """Return the share of its keys that are found, by issuer."""
    draw, shares = random.Random(seed), {}
    for issuer in ISSUERS:
        drawn = [draw_row(draw, issuer) for _ in range(each)]
        shares[issuer] = sum(is_found(text, key) for text, key in drawn) / each
    return shares


def is_found(text: str, key: str) -> bool:
    start = text.index(key)
    return any(match.start <= start and start + len(key) <= match.end for match in find_personal_data(text))


def clean_texts() -> list[str]:
    shared = [join_span_texts(record) for path in sorted(SHARED.glob("*.json*")) for _, record in read_records(path)]
    return shared + [row.text for row in rows(200, seed=11) if not row.kind]


def main() -> None:
    shares = issuers_found(seed=5)
    texts = clean_texts()
    started = time.process_time()
    alarms = sum(match.kind == "api_key" for text in texts for match in find_personal_data(text))
    seconds = time.process_time() - started
    measures = {
        f"issuers found, of {len(ISSUERS)}": sum(share >= 0.9 for share in shares.values()),
        "keys found, per cent": round(100 * sum(shares.values()) / len(shares), 1),
        f"taken for a key, of {len(texts):,} clean texts": alarms,
        "clean texts a second": round(len(texts) / seconds),
    }
    print(json.dumps({"part": "issued API keys", "measures": measures}))


if __name__ == "__main__":
    main()
