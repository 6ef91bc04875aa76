"""How many webhooks are signed a second, and how many of them OpenAI's own client refuses.

Each body is signed with a new secret, and read by `openai`'s `client.webhooks.unwrap`. `PYTHONPATH=TREE/src python
benchmarks/libraries/webhook_signatures.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import openai
from pydantic import SecretStr

from tuneport.lifecycle.webhooks.posting import webhook_event_body
from tuneport.lifecycle.webhooks.signing import new_webhook_secret, parse_webhook_secret, sign_webhook_headers

files = ["src/tuneport/lifecycle/webhooks/signing.py"]
BODIES, SIGNATURES = 1000, 50_000


def count_refused() -> int:
    client, refused = openai.OpenAI(api_key="any"), 0
    for number in range(BODIES):
        end = ("succeeded", "failed", "cancelled")[number % 3]
        body = webhook_event_body(f"evt_{number}", f"fine_tuning.job.{end}", f"ftjob-{number}", datetime.now(UTC))
        secret = new_webhook_secret()
        headers = sign_webhook_headers(
            parse_webhook_secret(SecretStr(secret), "S"), f"wh_{number}", int(time.time()), body
        )
        try:
            refused += client.webhooks.unwrap(body, headers, secret=secret).data.id != f"ftjob-{number}"
        except openai.InvalidWebhookSignatureError:
            refused += 1
    return refused


def signatures_a_second() -> float:
    key = parse_webhook_secret(SecretStr(new_webhook_secret()), "S")
    body = webhook_event_body("evt_1", "fine_tuning.job.succeeded", "ftjob-1", datetime.now(UTC))
    started = time.perf_counter()
    for number in range(SIGNATURES):
        sign_webhook_headers(key, f"wh_{number}", 1_764_000_000, body)
    return SIGNATURES / (time.perf_counter() - started)


measures = {
    f"refused by OpenAI's client, of {BODIES}": count_refused(),
    "signatures a second": round(signatures_a_second()),
}
print(json.dumps({"part": "webhook signatures", "measures": measures}))
