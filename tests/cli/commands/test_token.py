"""token create, list, revoke, and the audit log, as people and programs read them."""

from __future__ import annotations

import pytest

from tests.support.commands import Run
from tuneport.lifecycle.store.tokens import TOKEN


def test_a_secret_is_shown_once(run: Run) -> None:
    code, out, error = run("token", "create", "ci", "--scope", "read", "--expires", "30")
    assert code == 0 and TOKEN.fullmatch(out.strip())
    assert "read in default until" in error and "require a token" in error
    _, made, _ = run("token", "create", "ops", "--scope", "admin", "--json")
    assert made["project"] is None and TOKEN.fullmatch(made["secret"]) and made["id"] in made["secret"]
    _, listed, error = run("token", "list", "--json")
    assert [row["name"] for row in listed["data"]] == ["ci", "ops"] and "require a token" not in error
    assert not any("secret" in row or "digest" in row for row in listed["data"])
    code, out, _ = run("token", "list")
    assert code == 0 and "(every)" in out and max(map(len, out.splitlines())) <= 80


def test_a_name_is_free_again_once_it_is_revoked(run: Run) -> None:
    _, first, _ = run("token", "create", "ci", "--json")
    code, told, _ = run("token", "create", "ci", "--json")
    assert code == 2 and "`tuneport token revoke ci` first" in told["error"]["message"]
    _, revoked, _ = run("token", "revoke", "ci", "--json")
    assert revoked["state"] == "revoked" and revoked["id"] == first["id"]
    _, second, _ = run("token", "create", "ci", "--json")
    assert second["id"] != first["id"]
    assert run("token", "revoke", first["id"])[0] == 0, "by its id it is revoked already"
    _, listed, _ = run("token", "list", "--json")
    assert [row["state"] for row in listed["data"]] == ["revoked", "live"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("token", "create", "a b"), "NAME 'a b'"),
        (("token", "create", "a", "--scope", "root"), "--scope is one of read, submit, admin"),
        (("token", "create", "a", "--project", "../x"), "--project '../x'"),
        (("token", "create", "a", "--expires", "0"), "--expires is a number of days above 0"),
        (("token", "create", "a", "--expires", "nan"), "--expires is a number of days above 0"),
        (("token", "revoke", "nobody"), "no token 'nobody' is in use"),
        (("audit", "--since", "yesterday"), "--since 'yesterday' is not a time"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, document, error = run(*arguments, "--json")
    assert code == 2 and told in document["error"]["message"] and len(error.splitlines()) == 1


def test_who_did_what(run: Run) -> None:
    run("token", "create", "ci", "--project", "team")
    run("token", "create", "ops")
    run("token", "revoke", "ci")
    _, all_, _ = run("audit", "--json")
    assert [(row["action"], row["project"]) for row in all_["data"]] == [
        ("token.revoke", "team"),
        ("token.create", "default"),
        ("token.create", "team"),
    ]
    assert {row["name"] for row in all_["data"]} == {"local"}
    _, team, _ = run("audit", "--project", "team", "--limit", "1", "--json")
    assert [row["action"] for row in team["data"]] == ["token.revoke"] and team["has_more"]
    assert run("audit", "--since", "2999-01-01", "--json")[1]["data"] == []
    code, out, _ = run("audit")
    assert code == 0 and "token.revoke" in out and max(map(len, out.splitlines())) <= 80
