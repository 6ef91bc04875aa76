"""An emulator behind TLS, with a certificate of an authority of its own, which nobody knows."""

from __future__ import annotations

import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import relay

# Python 3.13 checks chains as RFC 5280 has it (`VERIFY_X509_STRICT`): an authority that may sign says so, and each
# certificate names its issuer's key. Written out, because the openssl.cnf of a machine need not say it.
EXTENSIONS = """
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class Authority:
    """Makes `ca.pem`, and a certificate for `names`, with the `openssl` program."""

    def __init__(self, folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl program to make a certificate with")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.certificate = folder, folder / "ca.pem"
        (folder / "extensions.cnf").write_text(EXTENSIONS.format(names=names))
        request = ["req", "-config", "extensions.cnf", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        ours = ["-x509", "-extensions", "authority", "-days", "30", "-subj", "/CN=Ours"]
        self._openssl(*request, *ours, "-keyout", "ca.key", "-out", "ca.pem")
        self._openssl(*request, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
        signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"]
        extensions = ["-extfile", "extensions.cnf", "-extensions", "server"]
        self._openssl("x509", "-req", "-in", "server.csr", *signing, *extensions, "-out", "server.pem")

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def hashed_folder(self) -> Path:
        """A folder as SSL_CERT_DIR wants it: each certificate under the hash of its name."""
        folder = self.folder / "hashed"
        folder.mkdir(exist_ok=True)
        name = self._openssl("x509", "-hash", "-noout", "-in", "ca.pem").strip()
        shutil.copy(self.certificate, folder / f"{name}.0")
        return folder

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context


class TlsFront:
    """Ends TLS and passes what comes on to `port` of this machine. `connections` counts finished handshakes."""

    def __init__(self, authority: Authority, port: int) -> None:
        self.connections = 0
        context, outer = authority.context(), self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), context.wrap_socket(self.request, server_side=True) as client:
                    outer.connections += 1
                    with socket.create_connection(("127.0.0.1", port)) as upstream:
                        relay(client, upstream)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def behind_tls(emulator_class: type[Any], authority: Authority, **options: Any) -> Any:
    """An emulator of that class, not yet started, whose address is `https://localhost:...`."""

    class Encrypted(emulator_class):  # type: ignore[misc]
        front: TlsFront

        def start(self) -> Any:
            super().start()
            self.front = TlsFront(authority, self._port)
            return self

        def stop(self) -> None:
            self.front.stop()
            super().stop()

        @property
        def origin(self) -> str:
            return f"https://localhost:{self.front.port}"

    return Encrypted(**options)
