"""Proxies and a custom authority by the usual variables: a real proxy, a real TLS server, both vendors' SDKs."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import CLASSES, KEYS
from tests.support.folders import FIXTURES
from tests.support.proxy import ProxyServer
from tests.support.tls import Authority, TlsFront, behind_tls
from tuneport.backends.hosted.http.network import CERTIFICATE_VARIABLES, ProviderNetwork
from tuneport.cli.main import main
from tuneport.errors import AuthError, ConfigError, UnavailableError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
EMULATORS = {"openai": OpenAIEmulator, "together": TogetherEmulator}
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["openai", "together"])
def name(request: pytest.FixtureRequest) -> str:
    word: str = request.param
    return word


@pytest.fixture
def secure(name: str, authority: Authority) -> Iterator[Any]:
    with behind_tls(EMULATORS[name], authority, key=KEYS[name], pace=0.02) as emulator:
        yield emulator


@pytest.fixture
def plain(name: str) -> Iterator[Any]:
    with EMULATORS[name](key=KEYS[name], pace=0.02) as emulator:
        yield emulator


@pytest.fixture
def opened() -> Iterator[Open]:
    """A backend whose environment holds nothing but its key, its address and what is given."""
    backends = []

    def open_one(emulator: Any, base_url: str | None = None, **environment: Any) -> Any:
        name = emulator.name
        variables = environment_of(emulator, base_url) | {key: str(value) for key, value in environment.items()}
        backend = CLASSES[name](load_manifest(name), Settings.load(Path.cwd(), variables), sleep=lambda seconds: None)
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        backend.close()


def environment_of(emulator: Any, base_url: str | None = None) -> dict[str, str]:
    upper = emulator.name.upper()
    return {f"TUNEPORT_{upper}_BASE_URL": base_url or emulator.base_url, f"{upper}_API_KEY": emulator.key}


# --- a job runs through ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_job_runs_through_a_proxy_to_a_server_with_its_own_authority(
    secure: Any, authority: Authority, where: str, isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with ProxyServer(user="me:hunter2") as proxy:
        address = proxy.url.replace("://", "://me:hunter2@")
        variables = environment_of(secure) | {"HTTPS_PROXY": address, "SSL_CERT_FILE": str(authority.certificate)}
        if where == ".env":
            (isolated / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
            assert not variables.keys() & os.environ.keys()
        else:
            for variable, value in variables.items():
                monkeypatch.setenv(variable, value)
        code = main(
            [
                "submit",
                "--yes",
                "--anyway",
                TRAIN,
                "--model",
                "support-intents",
                "--backend",
                secure.name,
                "--wait",
                "--json",
            ]
        )
        printed = capsys.readouterr()
        assert code == 0, printed.err
        job = json.loads(printed.out)
        assert job["status"] == "succeeded" and secure.jobs_created == 1
        assert main(["logs", job["id"], "--json"]) == 0
        # All of it went through the tunnel, the upload to the storage's address too.
        assert set(proxy.seen) == {f"CONNECT localhost:{secure.front.port}"}
        assert 1 <= secure.front.connections <= len(proxy.seen)
        assert all(KEYS[secure.name].encode() not in head for head in proxy.heads)


def test_plain_address_goes_by_http_proxy_or_all_proxy(plain: Any, opened: Open) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        with ProxyServer() as proxy:
            # Without a scheme, as some write it.
            assert list(opened(plain, **{variable: f"127.0.0.1:{proxy.port}"}).list_jobs()) == []
            assert [line.split(" ")[0] for line in proxy.seen] == ["GET"] and plain.origin in proxy.seen[0]
    with ProxyServer() as proxy:
        assert list(opened(plain, HTTPS_PROXY=proxy.url).list_jobs()) == []
        assert proxy.seen == []


# --- who is reached without -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_honoured(secure: Any, plain: Any, authority: Authority, opened: Open, variable: str) -> None:
    with ProxyServer() as proxy:
        common = {"ALL_PROXY": proxy.url, "SSL_CERT_FILE": authority.certificate}
        assert list(opened(secure, **common, **{variable: "example.org, localhost"}).list_jobs()) == []
        assert list(opened(plain, **common, **{variable: "127.0.0.0/8"}).list_jobs()) == []
        assert proxy.seen == []
        assert list(opened(secure, **common, **{variable: "example.org"}).list_jobs()) == []
        assert len(proxy.seen) == 1


@pytest.mark.parametrize(
    ("entries", "url", "bypassed"),
    [
        ("*", "https://api.openai.com/v1", True),
        ("openai.com", "https://api.openai.com/v1", True),
        (".openai.com", "https://api.openai.com/v1", True),
        ("*.openai.com", "https://api.openai.com/v1", True),
        ("API.OpenAI.com", "https://api.openai.com/v1", True),
        ("https://api.openai.com", "https://api.openai.com/v1", True),
        ("api.openai.com:443", "https://api.openai.com/v1", True),
        ("api.openai.com:8443", "https://api.openai.com/v1", False),
        ("ai.com", "https://api.openai.com/v1", False),
        ("", "https://api.openai.com/v1", False),
        (" , ,", "https://api.openai.com/v1", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000/v1", False),
        ("10.1.2.3:8000", "http://10.1.2.3:8000/v1", True),
        ("[::1]", "http://[::1]:8000/v1", True),
        ("[::1]:8000", "http://[::1]:8000/v1", True),
        ("::1", "http://[::1]:8000/v1", True),
        ("fd00::/8", "http://[fd00::5]/v1", True),
    ],
)
def test_entries_of_no_proxy(entries: str, url: str, bypassed: bool) -> None:
    network = ProviderNetwork({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": entries}.get)
    assert (network.proxy_for(url) is None) is bypassed


# --- whose certificates are believed --------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", CERTIFICATE_VARIABLES)
def test_every_usual_variable_names_the_authority(
    secure: Any, authority: Authority, opened: Open, variable: str
) -> None:
    places = [authority.hashed_folder()] if variable == "SSL_CERT_DIR" else [authority.certificate]
    places += [authority.hashed_folder()] if variable == "REQUESTS_CA_BUNDLE" else []
    for place in places:
        assert list(opened(secure, **{variable: place}).list_jobs()) == []


def test_unknown_authority_is_one_line_that_names_the_variable(
    secure: Any, isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for variable, value in environment_of(secure).items():
        monkeypatch.setenv(variable, value)
    code = main(["submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", secure.name])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 3
    assert "set SSL_CERT_FILE to a file with that authority's certificate" in error
    assert f"the certificate of {secure.name} at https://localhost:" in error
    assert secure.log == []


def test_unknown_authority_is_not_tried_again_and_has_started_nothing(secure: Any, opened: Open) -> None:
    waits: list[float] = []
    backend = opened(secure)
    backend._sleep = waits.append
    with pytest.raises(UnavailableError) as caught:
        backend.fetch("ft-1")
    assert not caught.value.retryable and waits == []


def test_bundle_without_the_authority_is_named(secure: Any, opened: Open, tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path / "other")
    with pytest.raises(UnavailableError, match=r"is not from an authority in .*ca.pem, which REQUESTS_CA_BUNDLE names"):
        opened(secure, REQUESTS_CA_BUNDLE=other.certificate).fetch("ft-1")
    # The first of the variables counts, and its certificates alone.
    backend = opened(secure, SSL_CERT_FILE=authority.certificate, REQUESTS_CA_BUNDLE=other.certificate)
    assert list(backend.list_jobs()) == []


def test_certificates_that_cannot_be_used_are_told_by_their_variable(secure: Any, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("no certificate")
    for variable, path, reason in (
        ("SSL_CERT_FILE", tmp_path / "nowhere.pem", "No such file or directory"),
        ("REQUESTS_CA_BUNDLE", tmp_path / "junk.pem", "it holds no certificate"),
    ):
        with pytest.raises(ConfigError, match=f"{variable} names {path}, which cannot be used .{reason}"):
            opened(secure, **{variable: path}).fetch("ft-1")


def test_certificate_for_another_name_is_told_apart(name: str, opened: Open, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", names="DNS:elsewhere.example")
    with behind_tls(EMULATORS[name], other) as emulator:
        with pytest.raises(UnavailableError, match=r"is not valid \(.*mismatch.*\); check TUNEPORT_"):
            opened(emulator, SSL_CERT_FILE=other.certificate).fetch("ft-1")


def test_the_tests_authority_holds_where_python_checks_chains_strictly(authority: Authority) -> None:
    """As Python does from 3.13 on."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    front = TlsFront(authority, port=9)
    try:
        with socket.create_connection(("127.0.0.1", front.port)) as connection:
            with context.wrap_socket(connection, server_hostname="localhost") as encrypted:
                assert encrypted.version()
    finally:
        front.stop()


# --- a proxy in trouble ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "me:wr0ng-hunter2@"])
def test_proxy_that_wants_a_password_is_told_without_it(
    secure: Any, plain: Any, authority: Authority, opened: Open, user: str
) -> None:
    with ProxyServer(user="me:hunter2") as proxy:
        address = proxy.url.replace("://", f"://{user}")
        certificate = {"SSL_CERT_FILE": authority.certificate}
        for emulator, variable in ((secure, "HTTPS_PROXY"), (plain, "HTTP_PROXY")):
            with pytest.raises(AuthError) as caught:
                opened(emulator, **certificate, **{variable: address}).fetch("ft-1")
            told = str(caught.value)
            assert told.startswith(f"the proxy {proxy.url} does not let us through to {emulator.name} (407")
            assert f"set {variable} to http://USER:PASSWORD@HOST:PORT" in told
            assert "hunter2" not in told and "\n" not in told
            assert emulator.log == []
        assert len(proxy.seen) == 2  # not tried again


def test_password_with_special_signs_reaches_the_proxy(plain: Any, opened: Open) -> None:
    with ProxyServer(user="me:p@ss/word:1") as proxy:
        backend = opened(plain, HTTP_PROXY=proxy.url.replace("://", "://me:p%40ss%2Fword%3A1@"))
        assert list(backend.list_jobs()) == []


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (502, 4)])
def test_proxy_that_does_not_connect_is_told_as_the_proxys_word(
    secure: Any, authority: Authority, opened: Open, status: int, tries: int
) -> None:
    with ProxyServer(refuses=status) as proxy:
        with pytest.raises(
            UnavailableError, match=rf"the proxy {proxy.url} does not connect to .*\({status} .*NO_PROXY"
        ):
            opened(secure, HTTPS_PROXY=proxy.url, SSL_CERT_FILE=authority.certificate).fetch("ft-1")
        assert len(proxy.seen) == tries


def test_web_page_of_a_proxy_is_not_laid_at_the_providers_door(plain: Any, opened: Open) -> None:
    with ProxyServer(refuses=403) as proxy, pytest.raises(UnavailableError) as caught:
        opened(plain, HTTP_PROXY=proxy.url).fetch("ft-1")
    assert f"(via proxy {proxy.url} of HTTP_PROXY) did not answer in JSON" in str(caught.value)


def test_proxy_that_is_down_is_named(secure: Any, opened: Open) -> None:
    with pytest.raises(UnavailableError) as caught:
        opened(secure, HTTPS_PROXY="http://me:hunter2@127.0.0.1:9").fetch("ft-1")
    told = str(caught.value)
    assert "via proxy http://127.0.0.1:9 of HTTPS_PROXY) cannot be reached: connection refused" in told
    assert "check HTTPS_PROXY" in told and "hunter2" not in told


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://me:hunter2@127.0.0.1:port", "HTTPS_PROXY is not the address of a proxy"),
        ("gopher://me:hunter2@127.0.0.1:70", "HTTPS_PROXY is not the address of a proxy"),
        ("socks5://me:hunter2@127.0.0.1:1080", "HTTPS_PROXY names a SOCKS proxy, .*pip install .*\\[socks\\]"),
    ],
)
def test_proxy_that_is_none_is_told_by_its_variable(secure: Any, opened: Open, value: str, words: str) -> None:
    if value.startswith("socks") and find_spec("socksio") is not None:
        pytest.skip("socksio is installed")
    with pytest.raises(ConfigError, match=words) as caught:
        opened(secure, HTTPS_PROXY=value).fetch("ft-1")
    assert "hunter2" not in str(caught.value) and "hunter2" not in repr(caught.value.__cause__)
