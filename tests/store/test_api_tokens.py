"""API tokens are recognised by their secret alone, and no secret is ever kept."""

import hashlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from sirocco.errors import ConfigError, InvalidInput
from sirocco.store.accounts import Accounts
from sirocco.store.api_tokens import SECRET_FORMAT, ApiToken, ApiTokens, load_pepper
from sirocco.store.scopes import ALL_SCOPES, Scope
from sirocco.store.tables import api_tokens

PEPPER = b"p" * 32
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def tokens(database, clock) -> ApiTokens:
    return ApiTokens(database, PEPPER, clock=clock)


@pytest.fixture
def account_id(database) -> str:
    return Accounts(database).create("Levante").id


@pytest.fixture
def foreign_id(database) -> str:
    return Accounts(database).create("Ponente").id


def other_secret(secret: str) -> str:
    """Return a well-formed secret that differs in its last character alone."""
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def test_a_secret_verifies_as_the_api_token_it_was_made_with(tokens, account_id):
    secret, token = tokens.create(account_id, name="laptop")

    assert tokens.verify(secret) == token
    assert token == ApiToken(
        token.id, account_id, "laptop", secret[:8], NOW, None, None, ALL_SCOPES, 1.0
    )


def test_each_secret_verifies_as_its_own_api_token(tokens, account_id):
    made = [tokens.create(account_id, name="same name") for _ in range(5)]

    assert len({secret for secret, _ in made}) == len({token.id for _, token in made}) == 5
    assert [tokens.verify(secret) for secret, _ in made] == [token for _, token in made]


def test_a_secret_is_well_formed(tokens, account_id):
    secret, _ = tokens.create(account_id, name="laptop")

    assert re.fullmatch("[A-Za-z0-9_-]{40}", secret)
    assert SECRET_FORMAT.match(secret)


@pytest.mark.parametrize("find", [SECRET_FORMAT.match, SECRET_FORMAT.search])
@pytest.mark.parametrize(
    "text", ["a" * 39, "a" * 41, "a" * 40 + "\n", "a" * 39 + ".", "a" * 39 + "é", "", " " * 40]
)
def test_what_is_not_exactly_40_characters_of_the_alphabet_is_not_well_formed(find, text):
    assert find("aZ09_-" + "a" * 34)
    assert not find(text)


def test_the_visible_prefix_is_the_first_8_characters(tokens, account_id):
    secret, token = tokens.create(account_id, name="laptop")

    assert token.prefix == secret[:8]
    assert [kept.prefix for kept in tokens.of_account(account_id)] == [secret[:8]]


def test_the_rest_of_a_secret_is_in_no_file_and_no_repr(sqlite_database, database_file):
    tokens = ApiTokens(sqlite_database, PEPPER)
    account_id = Accounts(sqlite_database).create("Levante").id
    secret, token = tokens.create(account_id, name="laptop")
    tokens.verify(secret)
    files = sorted(database_file.parent.glob("sirocco.db*"))
    kept = b"".join(file.read_bytes() for file in files)

    assert [file.name for file in files] == ["sirocco.db", "sirocco.db-shm", "sirocco.db-wal"]
    assert secret[:8].encode() in kept  # this would find it
    assert secret[:12].encode() not in kept
    assert secret[8:].encode() not in kept
    assert hashlib.sha256(secret.encode()).hexdigest().encode() not in kept
    assert secret[8:] not in repr((token, tokens))


def test_the_pepper_is_not_in_the_database(sqlite_database, database_file):
    tokens = ApiTokens(sqlite_database, PEPPER)
    account_id = Accounts(sqlite_database).create("Levante").id
    secret, _ = tokens.create(account_id, name="laptop")
    kept = b"".join(file.read_bytes() for file in database_file.parent.glob("sirocco.db*"))

    assert secret[:8].encode() in kept  # this would find it
    assert PEPPER not in kept
    assert PEPPER.hex().encode() not in kept


def test_what_is_kept_is_the_hmac_of_the_secret(database, tokens, account_id):
    secret, _ = tokens.create(account_id, name="laptop")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in PEPPER.ljust(64, b"\0")))
    inner.update(secret.encode())
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in PEPPER.ljust(64, b"\0")))
    outer.update(inner.digest())

    with database.connect() as connection:
        digest = connection.scalar(select(api_tokens.c.digest))

    assert digest == outer.hexdigest()  # RFC 2104 §2, written out


def test_a_wrong_secret_is_not_recognised(tokens, account_id):
    secret, _ = tokens.create(account_id, name="laptop")

    assert tokens.verify(other_secret(secret)) is None
    assert tokens.verify(secret.swapcase()) is None


@pytest.mark.parametrize("text", ["", "\ud800" * 40, "\0" * 40, "é" * 40, "x" * 1_000_000])
def test_any_text_may_be_asked_for(tokens, account_id, text):
    tokens.create(account_id, name="laptop")

    assert tokens.verify(text) is None


def test_neither_prefix_nor_id_nor_digest_is_recognised(database, tokens, account_id):
    _, token = tokens.create(account_id, name="laptop")
    with database.connect() as connection:
        digest = connection.scalar(select(api_tokens.c.digest))

    assert tokens.verify(token.prefix) is None
    assert tokens.verify(token.id) is None
    assert tokens.verify(digest) is None


def test_with_another_pepper_nothing_is_recognised(database, tokens, account_id):
    secret, token = tokens.create(account_id, name="laptop")

    assert ApiTokens(database, b"q" * 32).verify(secret) is None
    assert ApiTokens(database, PEPPER).verify(secret) == token


def test_an_api_token_ends_at_the_moment_it_expires(tokens, account_id, clock):
    end = NOW + timedelta(hours=1)
    secret, token = tokens.create(account_id, name="laptop", expires_at=end)

    clock.now = end - timedelta(microseconds=1)
    before = tokens.verify(secret)
    clock.now = end
    after = tokens.verify(secret)

    assert (before, after) == (token, None)
    assert token.expires_at == end


def test_an_end_without_a_zone_is_refused_and_nothing_kept(tokens, account_id):
    end = datetime(2027, 1, 1)

    with pytest.raises(InvalidInput, match="'/expires_at' must have a time zone, got 2027-01-01"):
        tokens.create(account_id, name="laptop", expires_at=end)

    assert tokens.of_account(account_id) == []


def test_a_revoked_api_token_is_not_recognised(tokens, account_id):
    secret, token = tokens.create(account_id, name="laptop")
    other, other_token = tokens.create(account_id, name="server")

    assert tokens.revoke(token.id, account_id)

    assert tokens.verify(secret) is None
    assert tokens.verify(other) == other_token


def test_revoking_again_changes_nothing(tokens, account_id, clock):
    _, token = tokens.create(account_id, name="laptop")
    tokens.revoke(token.id, account_id)
    clock.now = NOW + timedelta(hours=1)

    assert not tokens.revoke(token.id, account_id)

    assert [kept.revoked_at for kept in tokens.of_account(account_id)] == [NOW]


def test_a_foreign_account_cannot_revoke(tokens, account_id, foreign_id):
    secret, token = tokens.create(account_id, name="laptop")

    assert not tokens.revoke(token.id, foreign_id)

    assert tokens.verify(secret) == token


def test_revoking_what_is_not_there_is_false(tokens, account_id):
    assert not tokens.revoke("0" * 32, account_id)


def test_an_account_sees_its_own_api_tokens_oldest_first(tokens, account_id, foreign_id, clock):
    for name, hours in (("third", 2), ("first", 0), ("second", 1)):
        clock.now = NOW + timedelta(hours=hours)
        tokens.create(account_id, name=name)
    tokens.create(foreign_id, name="foreign")

    names = [token.name for token in tokens.of_account(account_id)]

    assert names == ["first", "second", "third"]


def test_revoked_and_expired_api_tokens_are_still_listed(tokens, account_id, clock):
    _, token = tokens.create(account_id, name="laptop", expires_at=NOW + timedelta(hours=1))
    tokens.revoke(token.id, account_id)
    clock.now = NOW + timedelta(hours=2)

    listed = tokens.of_account(account_id)

    assert [kept.id for kept in listed] == [token.id]


@pytest.mark.parametrize("nobody", ["0" * 32, "", "\ud800"])
def test_an_unknown_account_gets_no_api_token(tokens, nobody):
    message = re.escape(f"'/account_id' must be an existing account, got {nobody!r}")

    with pytest.raises(InvalidInput, match=message):
        tokens.create(nobody, name="laptop")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
def test_a_bad_name_is_refused_and_nothing_kept(tokens, account_id, name):
    with pytest.raises(InvalidInput, match="'/name' must have"):
        tokens.create(account_id, name=name)

    assert tokens.of_account(account_id) == []


def test_a_pepper_is_made_once_and_kept(tmp_path):
    file = tmp_path / "pepper"

    pepper = load_pepper(file)

    assert len(pepper) == 32
    assert load_pepper(file) == file.read_bytes() == pepper
    assert list(tmp_path.iterdir()) == [file]  # the draft is gone


def test_two_peppers_differ(tmp_path):
    assert load_pepper(tmp_path / "one") != load_pepper(tmp_path / "two")


def test_a_pepper_is_private_whatever_the_umask(tmp_path):
    umask = os.umask(0)
    try:
        load_pepper(tmp_path / "pepper")
    finally:
        os.umask(umask)

    assert (tmp_path / "pepper").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("n_bytes", [0, 31, 33])
def test_a_pepper_of_the_wrong_size_is_refused_and_left_alone(tmp_path, n_bytes):
    file = tmp_path / "pepper"
    file.write_bytes(b"p" * n_bytes)

    with pytest.raises(ConfigError, match=f"{file} must have 32 bytes, got {n_bytes}"):
        load_pepper(file)

    assert file.read_bytes() == b"p" * n_bytes


@pytest.mark.parametrize(
    ("path", "reason"), [("none/pepper", "No such file or directory"), ("", "Is a directory")]
)
def test_a_pepper_that_cannot_be_had_is_a_setup_error(tmp_path, path, reason):
    file = tmp_path / path

    with pytest.raises(ConfigError, match=f"{file}: {reason}"):
        load_pepper(file)


def test_a_pepper_that_did_not_reach_the_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)

    with pytest.raises(ConfigError, match="pepper: No space left on device"):
        load_pepper(tmp_path / "pepper")

    assert list(tmp_path.iterdir()) == []


def test_a_pepper_gets_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    sizes = []
    link = Path.hardlink_to

    def watch(name, draft):
        sizes.append(Path(draft).stat().st_size)
        link(name, draft)

    monkeypatch.setattr(Path, "hardlink_to", watch)

    load_pepper(tmp_path / "pepper")

    assert sizes == [32]


def test_a_pepper_that_a_faster_process_made_meanwhile_is_kept(tmp_path, monkeypatch):
    file = tmp_path / "pepper"
    file.write_bytes(PEPPER)
    monkeypatch.setattr(Path, "exists", lambda _path: False)  # the moment before

    assert load_pepper(file) == file.read_bytes() == PEPPER


def test_processes_that_start_at_once_share_one_pepper(tmp_path):
    program = (
        "import hashlib, pathlib, sys\n"
        "from sirocco.store.api_tokens import load_pepper\n"
        "print(flush=True); sys.stdin.read(1)\n"
        "print(hashlib.sha256(load_pepper(pathlib.Path(sys.argv[1]))).hexdigest())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "pepper")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]

    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:  # all have imported and wait: let them go together
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    outputs = [process.communicate() for process in processes]

    expected = hashlib.sha256((tmp_path / "pepper").read_bytes()).hexdigest()
    assert [out.decode().strip() for out, _ in outputs] == [expected] * 4, outputs


def test_an_api_token_tells_the_weight_of_its_account_as_it_is_now(database):
    accounts = Accounts(database)
    account = accounts.create("heavy", weight=3.0)
    tokens = ApiTokens(database, PEPPER)
    secret, token = tokens.create(account.id, name="x")

    accounts.set_weight(account.id, 4.5)

    assert token.account_weight == 3.0
    now = tokens.verify(secret)
    assert now is not None
    assert now.account_weight == 4.5


@pytest.mark.parametrize("scopes", [["ai:read"], ["ai:run"], ["ai:run", "ai:read"]])
def test_an_api_token_may_do_what_it_was_made_for(tokens, account_id, scopes):
    secret, token = tokens.create(account_id, name="x", scopes=scopes)

    assert token.scopes == {Scope(name) for name in scopes}
    assert tokens.verify(secret) == token
    assert tokens.of_account(account_id) == [token]


@pytest.mark.parametrize(
    ("scopes", "reason"),
    [
        ([], "'/scopes' must have at least 1 scope, got 0"),
        (["ai:read", "ai:write"], "'/scopes' must be of ai:read, ai:run, got 'ai:write'"),
        ([""], "'/scopes' must be of ai:read, ai:run, got ''"),
    ],
)
def test_scopes_that_are_none_are_refused_and_nothing_kept(tokens, account_id, scopes, reason):
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        tokens.create(account_id, name="x", scopes=scopes)

    assert tokens.of_account(account_id) == []


def test_a_scope_of_a_newer_version_gives_nothing(database, tokens, account_id):
    secret, _ = tokens.create(account_id, name="x")
    with database.begin() as connection:
        connection.execute(update(api_tokens).values(scopes="ai:read ai:train"))

    token = tokens.verify(secret)

    assert token is not None
    assert token.scopes == {Scope.READ}
