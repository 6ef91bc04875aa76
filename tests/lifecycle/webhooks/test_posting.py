from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.webhook_receiver import Receiver
from tuneport.lifecycle.webhooks import posting
from tuneport.lifecycle.webhooks.endpoints import ENDS, WebhookEndpoint
from tuneport.lifecycle.webhooks.posting import WebhookDeliveryResult, post_webhook

KEY = b"k" * 32


def endpoint(url: str, *, allow_private: bool = True) -> WebhookEndpoint:
    return WebhookEndpoint("hook", url, KEY, ENDS, allow_private)


def sent(url: str, *, allow_private: bool = True) -> WebhookDeliveryResult:
    return asyncio.run(post_webhook(endpoint(url, allow_private=allow_private), "wh_1", b"{}"))


def test_arrives_with_name_and_password_of_the_address(receiver: Receiver) -> None:
    outcome = sent(f"http://me:p%40ss@localhost:{receiver.port}/hook?token=1")
    assert outcome.delivered and outcome.is_final
    (received,) = receiver.received
    assert received.path == "/hook?token=1" and received.headers["host"] == f"localhost:{receiver.port}"
    assert received.headers["authorization"] == "Basic bWU6cEBzcw=="
    assert received.headers["content-type"] == "application/json"


def test_private_address_is_not_even_connected_to(receiver: Receiver) -> None:
    for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
        outcome = sent(f"http://{host}:{receiver.port}/hook", allow_private=False)
        assert not outcome.is_final and "which is no public address" in str(outcome.error)
    assert receiver.received == []


def test_name_that_changes_after_the_check_leads_nowhere_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once, and the connection is made to what was found and judged then."""
    looked_up, real = [], socket.getaddrinfo

    def rebinding(host: object, *arguments: object, **options: object) -> object:
        if host != "rebinding.example":
            return real(host, *arguments, **options)  # type: ignore[arg-type]
        looked_up.append(host)
        return real("127.0.0.1" if len(looked_up) == 1 else "::1", *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert sent(f"http://rebinding.example:{receiver.port}/hook").delivered
    assert looked_up == ["rebinding.example"] and len(receiver.received) == 1


def test_redirect_is_a_failure_and_not_followed(receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = [302], {"location": f"{receiver.url}/elsewhere"}
    outcome = sent(receiver.url)
    assert (outcome.status, outcome.delivered, outcome.is_final) == (302, False, False)
    assert len(receiver.received) == 1


def test_answer_that_drips_ends_in_time(receiver: Receiver) -> None:
    receiver.drips = True
    outcome = asyncio.run(post_webhook(endpoint(receiver.url), "wh_1", b"{}", most_seconds=0.4))
    assert "did not answer within" in str(outcome.error)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://nowhere.invalid/", "http://" + "a" * 70 + ".example/"])
def test_what_cannot_be_reached_is_told_by_its_host(url: str) -> None:
    outcome = sent(url.replace("//", "//me:geheim@"))
    assert outcome.status is None and outcome.error and "geheim" not in outcome.error


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("9999999", 86400), ("soon", None), ("", None), ("-5", None), ("in an hour", None)],
)
def test_retry_after(receiver: Receiver, header: str, seconds: float | None) -> None:
    receiver.statuses, receiver.headers = [503], {"retry-after": header}
    assert sent(receiver.url).retry_after == seconds


def test_retry_after_a_date(receiver: Receiver) -> None:
    from email.utils import format_datetime

    receiver.statuses = [429]
    receiver.headers = {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)}
    assert 90 < (sent(receiver.url).retry_after or 0) <= 100


def test_certificate_must_be_of_the_name_though_the_connection_is_to_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = _certificate(tmp_path, "hooks.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, _: names.append(name)
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listening.accept()
                with context.wrap_socket(connection, server_side=True) as secure:
                    asked = b""
                    while not asked.endswith(b"{}"):
                        asked += secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except ssl.SSLError:
                continue  # a client that does not trust us
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **o: real("127.0.0.1", *a, **o))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    posting._trusted.cache_clear()
    try:
        port = listening.getsockname()[1]
        assert sent(f"https://hooks.example:{port}/").status == 204
        assert names == ["hooks.example"]
        wrong = sent(f"https://other.example:{port}/")
        assert wrong.status is None and "certificate" in str(wrong.error)
    finally:
        posting._trusted.cache_clear()
        listening.close()


def _certificate(folder: Path, name: str) -> Path:
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return pem
