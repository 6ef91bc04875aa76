"""Who may ask: tokens, scopes, pages of other sites, forms."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

from fastapi import Request  # noqa: E402
from fastapi.responses import HTMLResponse  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from tests.support.gateways import OLD_MODEL, Running, chats  # noqa: E402
from tuneport.lifecycle.schema.tables import TokenRow  # noqa: E402
from tuneport.lifecycle.store.store import Store  # noqa: E402
from tuneport.serve import AccessRules, Gateway, create_app  # noqa: E402
from tuneport.serve.http.access import COOKIE, CSRF_HEADER, check_csrf, csrf_token, gateway_request_caller  # noqa: E402
from tuneport.serve.timing import GatewayTiming  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.types import now  # noqa: E402

AT_ONCE = GatewayTiming(credentials=0.0)
"""What a gateway sees within a second, these tests see at the next request."""


@pytest.fixture
def store() -> Any:
    opened = Store(Settings.load().database_url).unscoped()
    yield opened
    opened.close()


class Served:
    """A gateway in this process, and clients of the openai package that reach it without a socket."""

    def __init__(self, base_url: str = "http://localhost:8321", **options: Any) -> None:
        self.gateway = Gateway(Settings.load(), timing=AT_ONCE, **options)
        self.app = create_app(self.gateway)
        self.http = TestClient(self.app, base_url=base_url, follow_redirects=False)

    def sdk(self, key: str, **options: Any) -> Any:
        http = TestClient(self.app, base_url="http://localhost:8321")
        return openai.OpenAI(
            api_key=key, base_url="http://localhost:8321/v1", http_client=http, max_retries=0, **options
        )


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    made: list[Served] = []

    def start(**options: Any) -> Served:
        made.append(Served(**options))
        return made[-1]

    yield start
    for each in made:
        each.gateway.close()


def expire(store: Store, row: TokenRow) -> None:
    with store.database.transaction() as session:
        session.get_one(TokenRow, row.id).expires_at = now()


def test_until_there_is_a_token_whoever_works_here_needs_none(served: Any) -> None:
    assert served().sdk("whatever").files.list().data == []


def test_right_wrong_expired_and_revoked_tokens(served: Any, store: Store) -> None:
    here = served()
    row, secret = store.tokens.add("ci", scope="read")
    assert here.sdk(secret).files.list().data == []
    wrong = [
        secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        secret.replace(row.id, "A" * 12),
        "sk-another-services-key",
        secret + "x",
        "\u00e9",
    ]
    for key in wrong:
        told = here.http.get("/v1/files", headers={"Authorization": f"Bearer {key}".encode("latin-1")})
        assert told.status_code == 401, key
        assert told.json()["error"]["code"] == "invalid_api_key" and told.headers["www-authenticate"] == "Bearer"
        assert key not in told.text, "what was sent may be another service's key"
    with pytest.raises(openai.AuthenticationError) as refused:
        here.sdk(wrong[0]).files.list()
    assert refused.value.code == "invalid_api_key" and refused.value.type == "invalid_request_error"
    assert here.http.get("/v1/files").json()["error"]["message"].startswith("You didn't provide an API key.")

    expiring, other = store.tokens.add("soon", scope="read", days=1)
    assert here.sdk(other).files.list().data == []
    expire(store, expiring)
    restarted = served()
    with pytest.raises(openai.AuthenticationError):
        restarted.sdk(other).files.list()

    store.tokens.revoke("ci")
    for gateway in (here, restarted):
        with pytest.raises(openai.AuthenticationError):
            gateway.sdk(secret).files.list()


def test_revoking_the_last_token_opens_no_door(served: Any, store: Store) -> None:
    here = served()
    _, secret = store.tokens.add("only", scope="admin")
    store.tokens.revoke("only")
    for key in (secret, "any"):
        with pytest.raises(openai.AuthenticationError):
            here.sdk(key).files.list()
    open_again = served(access=AccessRules(require_token=False))
    assert open_again.sdk("any").files.list().data == []
    with pytest.raises(openai.AuthenticationError):
        open_again.sdk(secret).files.list()


def test_a_revocation_by_another_process_is_seen_by_every_gateway(served: Any, store: Store) -> None:
    first, second = served(), served()
    _, secret = store.tokens.add("shared", scope="read")
    for gateway in (first, second):
        assert gateway.sdk(secret).files.list().data == []
    other_process = Store(Settings.load().database_url).unscoped()
    other_process.tokens.revoke("shared")
    other_process.close()
    for gateway in (first, second):
        with pytest.raises(openai.AuthenticationError):
            gateway.sdk(secret).files.list()


def test_scopes(served: Any, store: Store, tmp_path: Path) -> None:
    here = served()
    keys = {scope: here.sdk(store.tokens.add(scope, scope=scope)[1]) for scope in ("read", "submit")}
    admin = here.sdk(store.tokens.add("admin", scope="admin", project="default")[1])
    data = chats(tmp_path / "c.jsonl")

    with pytest.raises(openai.PermissionDeniedError) as refused:
        keys["read"].files.create(file=data, purpose="fine-tune")
    assert refused.value.code == "insufficient_permissions" and "Missing scopes: submit" in refused.value.message
    with pytest.raises(openai.PermissionDeniedError):  # which would cost money
        keys["read"].chat.completions.create(model=OLD_MODEL, messages=[{"role": "user", "content": "Hi"}])
    file = keys["submit"].files.create(file=data, purpose="fine-tune")
    assert keys["read"].files.retrieve(file.id).id == file.id
    for scope in ("read", "submit"):
        with pytest.raises(openai.PermissionDeniedError):
            keys[scope].files.delete(file.id)
        for path in ("/tuneport/v1/audit", "/metrics"):
            assert here.http.get(path, headers=bearer(keys[scope])).status_code == 403
    everywhere = here.sdk(store.tokens.add("all", scope="admin")[1])
    assert here.http.get("/metrics", headers=bearer(everywhere)).status_code == 200
    refused_by_name = here.http.get("/metrics", headers=bearer(admin))
    assert refused_by_name.status_code == 403, "whose project is one of several"
    assert "of all projects" in refused_by_name.json()["error"]["message"]
    assert admin.files.delete(file.id).deleted


def bearer(client: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.api_key}"}


def test_when_it_was_used_is_noted_and_no_secret_is_kept(served: Any, store: Store) -> None:
    here = served()
    row, secret = store.tokens.add("ci", scope="read")
    assert row.last_used_at is None
    here.sdk(secret).files.list()
    (kept,) = store.tokens.all()
    assert kept.last_used_at is not None
    for path in (Path(Settings.load().home)).glob("tuneport.db*"):
        content = path.read_bytes()
        assert secret.encode() not in content and secret.rpartition("-")[2].encode() not in content


def test_health_is_told_to_everybody_and_nothing_else(served: Any, store: Store) -> None:
    here = served(base_url="http://10.0.0.7:8321")
    store.tokens.add("ci", scope="read")
    assert here.http.get("/healthz").status_code == 200
    for route in create_app(here.gateway).routes:
        path = getattr(route, "path", "")
        if path in ("/healthz", "/readyz") or path.startswith(("/login", "/assets")):
            continue
        for method in getattr(route, "methods", None) or ():
            told = here.http.request(method, path.replace("{", "").replace("}", ""))
            assert told.status_code in (401, 403), (method, path)


def test_a_token_is_good_at_any_name_and_a_cookie_at_known_ones_only(served: Any, store: Store) -> None:
    _, secret = store.tokens.add("ci", scope="admin")
    rules = AccessRules(require_token=True, public_hosts=("Tunes.example",))
    elsewhere = served(base_url="https://evil.example", access=rules)
    assert elsewhere.http.get("/v1/files", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    cookie = logged_in(served(base_url="https://tunes.example", access=rules), secret)
    for path in ("/", "/v1/files", "/tuneport/v1/audit"):
        told = elsewhere.http.get(path, headers={"Cookie": f"{COOKIE}={cookie}"})
        assert told.status_code == 403 and told.json()["error"]["code"] == "host_not_allowed"
    assert "tunes.example" in told.json()["error"]["message"] and "--public-host" in told.json()["error"]["message"]
    assert elsewhere.http.post("/login", data={"token": secret}).status_code == 403


def logged_in(here: Served, secret: str) -> str:
    told = here.http.post("/login", data={"token": secret, "next": "/jobs"})
    assert told.status_code == 303 and told.headers["location"] == "/jobs"
    shown = told.headers["set-cookie"]
    assert "HttpOnly" in shown and "SameSite=strict" in shown and "Path=/" in shown and "Max-Age=43200" in shown
    assert ("Secure" in shown) == (here.http.base_url.scheme == "https")
    return str(told.cookies[COOKIE])


def with_pages(here: Served) -> Served:
    @here.app.get("/page")
    def page(request: Request) -> HTMLResponse:
        return HTMLResponse(f"{gateway_request_caller(request).name} {csrf_token(request)}")

    @here.app.post("/change")
    def change(request: Request) -> dict[str, Any]:
        check_csrf(request, request.headers.get(CSRF_HEADER))
        return {}

    return here


def test_pages_run_nothing_that_is_written_into_them_and_forms_carry_a_word_of_ours(served: Any) -> None:
    client = with_pages(served()).http
    page = client.get("/page")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert page.headers["x-frame-options"] == "DENY" and page.headers["referrer-policy"] == "same-origin"
    name, word = page.text.split()
    assert name == "local"
    assert client.post("/change", headers={CSRF_HEADER: word}).status_code == 200
    for wrong in (b"", word[:-1].encode() + b"x", "\u00e9".encode("latin-1")):
        told = client.post("/change", headers={CSRF_HEADER: wrong})  # type: ignore[dict-item]
        assert told.json()["error"]["code"] == "csrf_failed"
        assert "content-security-policy" not in told.headers


def test_a_browser_shows_its_token_once_and_is_out_when_it_ends(served: Any, store: Store) -> None:
    here = with_pages(served())
    row, secret = store.tokens.add("ann", scope="submit")
    _, reading = store.tokens.add("bob", scope="read")
    sent_away = here.http.get("/page")
    assert sent_away.status_code == 303 and sent_away.headers["location"] == "/login?next=/page"
    assert here.http.post("/login", data={"token": "nonsense"}).headers["location"] == "/login?wrong=1"
    assert here.http.post("/login", data={"token": secret, "next": "//evil.example"}).headers["location"] == "/"

    cookie = logged_in(here, secret)
    name, word = here.http.get("/page").text.split()
    assert name == "ann"
    assert here.http.get("/v1/files").status_code == 200
    job = {"model": "m", "training_file": "file-none"}
    assert here.http.post("/v1/fine_tuning/jobs", json=job).json()["error"]["code"] == "csrf_failed"
    told = here.http.post("/v1/fine_tuning/jobs", json=job, headers={CSRF_HEADER: word})
    assert told.json()["error"]["code"] == "file_not_found"
    assert here.http.request("DELETE", "/v1/files/x", headers={CSRF_HEADER: word}).status_code == 403, "its scope"

    other = with_pages(served())
    logged_in(other, reading)
    assert other.http.get("/page").text.split()[1] != word, "each session has a word of its own"
    assert other.http.post("/change", headers={CSRF_HEADER: word}).status_code == 403

    assert here.http.post("/logout", data={"csrf_token": "x"}).status_code == 403
    assert here.http.post("/logout", data={"csrf_token": word}).headers["location"] == "/login"
    stolen = {"Cookie": f"{COOKIE}={cookie}"}
    assert other.http.get("/v1/files", headers=stolen).status_code == 401
    assert "Max-Age=0" in other.http.get("/page", headers=stolen).headers["set-cookie"]

    logged_in(here, secret)
    assert here.http.get("/page").status_code == 200
    store.tokens.revoke(row.id)
    assert here.http.get("/page").status_code == 303


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8321"}, False),
        ({"Host": "rebound.example"}, True),
        ({"Host": "localhost.evil.example"}, True),
        ({"Host": "[::1]:8321"}, False),
        ({"Host": "]["}, True),
    ],
)
def test_pages_of_other_sites_get_nowhere(served: Any, headers: dict[str, str], refused: bool) -> None:
    client = served().http
    assert (client.get("/v1/files", headers=headers).status_code == 403) == refused
    posted = client.post("/v1/fine_tuning/jobs", json={}, headers=headers).status_code
    assert (posted == 403) == (refused or headers.get("Sec-Fetch-Site") == "cross-site")


def test_packed_bodies_are_refused_unread(served: Any) -> None:
    bomb = gzip.compress(bytes(2**20))
    told = served().http.post("/v1/fine_tuning/jobs", content=bomb, headers={"Content-Encoding": "gzip"})
    assert told.status_code == 415 and told.json()["error"]["code"] == "packed_body"


def test_packed_files_are_refused_whatever_their_name(served: Any) -> None:
    import zstandard

    client = served().sdk("any")
    for content in (gzip.compress(b"{}\n" * 1000), zstandard.compress(b"{}\n" * 1000)):
        with pytest.raises(openai.BadRequestError, match="is compressed; decompress it"):
            client.files.create(file=("a.jsonl", content), purpose="fine-tune")
        upload = client.uploads.create(filename="a.jsonl", bytes=len(content), purpose="fine-tune", mime_type="x/y")
        parts = [client.uploads.parts.create(upload.id, data=piece).id for piece in (content[:1], content[1:])]
        with pytest.raises(openai.BadRequestError, match="is compressed; decompress it"):
            client.uploads.complete(upload.id, part_ids=parts)
    assert client.files.list().data == []


@pytest.mark.parametrize(
    "name", ["../../etc/x.jsonl", "/etc/x.jsonl", "..\\x.jsonl", "a\x00b.jsonl", "x" * 300 + ".jsonl", "\u202ex.jsonl"]
)
def test_names_of_files_are_text_and_no_paths(served: Any, name: str) -> None:
    here = served()
    home = Path(Settings.load().home)
    told = here.http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, b"{}\n")})
    assert told.status_code in (200, 400), told.text
    if told.status_code == 200:
        assert "/" not in told.json()["filename"] and "\\" not in told.json()["filename"]
        assert here.http.get(f"/v1/files/{told.json()['id']}/content").content == b"{}\n"
    kept = {path.relative_to(home).parts[0] for path in home.rglob("*") if path.is_file()}
    assert all(part.startswith("tuneport.db") or part in ("contents", "files") for part in kept), kept


def test_too_many_requests_jobs_and_wrong_keys(served: Any, store: Store, isolated: Path, tmp_path: Path) -> None:
    numbers = "requests_per_minute = 8\njobs_per_minute = 2\nfailures_per_minute = 3\n"
    (isolated / "tuneport.toml").write_text(f"[gateway]\n{numbers}")
    here = served()
    _, secret = store.tokens.add("ci", scope="submit")
    _, other = store.tokens.add("other", scope="submit")
    client = here.sdk(secret)
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    for _ in range(2):
        client.fine_tuning.jobs.create(model="m", training_file=file.id)
    with pytest.raises(openai.RateLimitError) as refused:
        client.fine_tuning.jobs.create(model="m", training_file=file.id)
    assert refused.value.code == "rate_limit_exceeded" and "jobs per minute: Limit 2" in refused.value.message
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30
    left = client.files.with_raw_response.list().headers
    assert left["x-ratelimit-limit-requests"] == "8" and left["x-ratelimit-remaining-requests"] == "3"
    with pytest.raises(openai.RateLimitError, match="requests per minute"):
        for _ in range(4):
            client.files.list()
    assert here.sdk(other).files.list().data, "another token has a bucket of its own"
    wrong = [here.http.get("/v1/files", headers={"Authorization": "Bearer no"}).status_code for _ in range(5)]
    assert wrong == [401, 401, 401, 429, 429]
    assert here.sdk(other).files.list().data, "and a right one is not kept out by wrong ones"


def test_a_store_that_does_not_answer_lets_nobody_in(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneport.lifecycle.schema.database import StoreUnavailableError

    here = served()

    def gone() -> None:
        raise StoreUnavailableError("the store is gone")

    monkeypatch.setattr(here.gateway.unscoped.store.tokens, "count_tokens", gone)
    assert here.http.get("/v1/files").json()["error"]["code"] == "store_unavailable"


def test_over_a_socket_too(serve: Callable[..., Running], store: Store) -> None:
    running = serve(background=False)
    _, secret = store.tokens.add("ci", scope="read")
    assert httpx.get(f"{running.url}/files", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert httpx.get(f"{running.url}/files").status_code == 401
