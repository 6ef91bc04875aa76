from __future__ import annotations

import time

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from tuneport.errors import ConfigError
from tuneport.lifecycle.webhooks.posting import webhook_event_body
from tuneport.lifecycle.webhooks.signing import new_webhook_secret, parse_webhook_secret, sign_webhook_headers
from tuneport.types import now

openai = pytest.importorskip("openai", reason="the client whose check this is: pip install 'tuneport[openai]'")


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_openai_takes_what_we_sign_and_nothing_that_was_changed(end: str) -> None:
    secret = new_webhook_secret()
    body = webhook_event_body("evt_1", f"fine_tuning.job.{end}", "ftjob-1", now())
    moment = int(time.time())
    headers = sign_webhook_headers(parse_webhook_secret(SecretStr(secret), "S"), "wh_1", moment, body)
    client = openai.OpenAI(api_key="any")
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert event.object == "event"
    assert (event.type, event.data.id, event.id) == (
        f"fine_tuning.job.{end}",
        "ftjob-1",
        "evt_1",
    )
    changes = [(body.replace(b"ftjob-1", b"ftjob-2"), headers), (body, headers | {"webhook-id": "wh_2"})]
    changes.append((body, headers | {"webhook-timestamp": str(moment - 1)}))
    for changed_body, changed_headers in changes:
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(changed_body, changed_headers, secret=secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body, headers, secret=new_webhook_secret())


def test_the_libraries_of_other_receivers_take_it_too() -> None:
    secret, body = new_webhook_secret(), '{"of": "Zoë"}'.encode()
    headers = sign_webhook_headers(parse_webhook_secret(SecretStr(secret), "S"), "wh_1", int(time.time()), body)
    assert Webhook(secret).verify(body, headers) == {"of": "Zoë"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)


def test_standard_webhooks_own_example() -> None:
    """From the specification's test vectors."""
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign_webhook_headers(
        parse_webhook_secret(secret, "S"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("wrong", ["plain-and-long-enough-to-be-one", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%" * 9])
def test_what_is_no_secret_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(ConfigError, match="HOOK is no secret") as caught:
        parse_webhook_secret(SecretStr(wrong), "HOOK")
    assert wrong == "whsec_" or wrong not in str(caught.value)
