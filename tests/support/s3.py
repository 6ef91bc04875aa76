"""A real S3 server on loopback, and s3fs led to it by its own variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3."""
    pytest.importorskip("s3fs", reason="what S3 is asked with: pip install s3fs")
    moto = pytest.importorskip("moto.server", reason="the S3 of these tests: pip install 'moto[s3]' flask flask-cors")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def at_s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Leads s3fs to an address, by its own variables."""

    def lead(address: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-s3")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import fsspec

        fsspec.get_filesystem_class("s3").clear_instance_cache()

    return lead
