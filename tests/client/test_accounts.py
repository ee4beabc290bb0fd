"""Named accounts: lookup, validation, and errors without secrets."""

import os
from pathlib import Path
from typing import Any

import pytest

from itnio_voice import Credentials
from itnio_voice._client.accounts import Account, FileAccess, find_accounts, read_accounts

TEXT = """
[eu]
api_key = "eu-key"
api_secret = "eu-secret"

[us]
api_key = "us-key"
api_secret = "us-secret"
base_url = "http://127.0.0.1:1/voice"
"""
EU = Account("eu", Credentials("eu-key", "eu-secret"))
US = Account("us", Credentials("us-key", "us-secret"), "http://127.0.0.1:1/voice")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's own accounts from the environment."""
    for name in ("ITNIO_ACCOUNTS", "ITNIO_API_KEY", "ITNIO_API_SECRET", "ITNIO_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return an accounts file that only its owner can read."""
    return write_accounts(tmp_path, TEXT)


def write_accounts(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write an accounts file."""
    path = folder / "accounts.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_table_is_an_account(file: Path) -> None:
    """Each table is an account; selected accounts are returned in the order of their names in the call."""
    assert {"eu": EU, "us": US} == read_accounts(file)
    assert ["eu", "us"] == list(find_accounts(file=file))
    assert [US, EU] == list(find_accounts(["us", "eu"], file=file).values())


def test_a_file_takes_precedence_over_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file, the variables define the account `default`; a file named by ITNIO_ACCOUNTS takes precedence."""
    with pytest.raises(ValueError, match="set ITNIO_API_KEY and ITNIO_API_SECRET"):
        find_accounts()
    monkeypatch.setenv("ITNIO_API_KEY", "key")
    monkeypatch.setenv("ITNIO_API_SECRET", "secret")

    assert {"default": Account("default", Credentials("key", "secret"))} == find_accounts()
    monkeypatch.setenv("ITNIO_BASE_URL", "http://127.0.0.1:2/voice")
    assert "http://127.0.0.1:2/voice" == find_accounts(["default"])["default"].base_url
    monkeypatch.setenv("ITNIO_ACCOUNTS", str(file))
    assert ["eu"] == list(find_accounts(["eu"]))
    with pytest.raises(ValueError, match=r"no account 'default' in .*accounts.toml: there are eu, us"):
        find_accounts(["default"])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A file that anyone but its owner can read or write is refused, and the error shows the `chmod` command."""
    path = write_accounts(tmp_path, TEXT, mode)
    with pytest.raises(ValueError, match=f"mode {mode:04o}.*: chmod 600 {path}"):
        read_accounts(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no account"),
        ("eu = 'hush-hush'", "account 'eu': a table with api_key and api_secret is expected"),
        ("[eu]\napi_key = 'hush-hush", "is not TOML"),
        ("[eu]\napi_key = 'k'\napi_secret = 'hush-hush'\nsecret = 'hush-hush'", "unknown secret: there are api_key"),
        ("[eu]\napi_key = 'k'", "account 'eu': api_secret is missing"),
        (
            "[a]\napi_key = 'k'\napi_secret = 'hush-hush'\n[b]\napi_key = 'k'\napi_secret = 's'",
            "'a' and 'b' have the same",
        ),
        ("[eu]\napi_key = 'k'\napi_secret = ' hush-hush'", "account 'eu': api_secret has spaces"),
        ("[eu]\napi_key = 'k'\napi_secret = 'hush-hush'\nbase_url = 1", "base_url must be text"),
    ],
)
def test_an_invalid_file_is_an_error_without_secrets(tmp_path: Path, text: str, message: str) -> None:
    """The error describes the defect, and contains no secret."""
    with pytest.raises(ValueError, match=message) as caught:
        read_accounts(write_accounts(tmp_path, text))

    error: Any = caught.value
    while error:
        assert "hush-hush" not in f"{error!r} {vars(error)}"
        error = error.__cause__


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A missing file raises FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        find_accounts(file=tmp_path / "none.toml")


@pytest.mark.anyio
async def test_an_account_opens_sessions_at_its_base_url() -> None:
    """An account opens sessions at its own base URL, unless the call passes another one."""
    async with US.session(concurrency=2) as one, US.session(base_url="http://127.0.0.1:9/voice") as other:
        assert "http://127.0.0.1:1/voice" == one._transport.base_url
        assert 2 == one._transport.concurrency
        assert "http://127.0.0.1:9/voice" == other._transport.base_url
    assert "us-secret" not in repr(US)


MODES: list[tuple[bool, FileAccess, str]] = [
    (True, FileAccess(0o600, 7, 7, is_read_only=False, user=7, groups=frozenset({7})), "the usual file"),
    (True, FileAccess(0o400, 0, 0, is_read_only=False, user=7, groups=frozenset({7})), "of root"),
    (True, FileAccess(0o440, 0, 7, is_read_only=True, user=7, groups=frozenset({7})), "a mount with fsGroup"),
    (True, FileAccess(0o640, 0, 9, is_read_only=True, user=7, groups=frozenset({7, 9})), "a further group"),
    (True, FileAccess(0o440, 0, 0, is_read_only=True, user=0, groups=frozenset({0})), "a process of root"),
    (False, FileAccess(0o440, 0, 7, is_read_only=False, user=7, groups=frozenset({7})), "not read-only"),
    (False, FileAccess(0o440, 0, 8, is_read_only=True, user=7, groups=frozenset({7})), "another group"),
    (False, FileAccess(0o444, 0, 7, is_read_only=True, user=7, groups=frozenset({7})), "all others"),
    (False, FileAccess(0o460, 0, 7, is_read_only=True, user=7, groups=frozenset({7})), "a group that can write"),
    (False, FileAccess(0o600, 8, 7, is_read_only=False, user=7, groups=frozenset({7})), "another owner"),
    (False, FileAccess(0o400, 8, 7, is_read_only=True, user=0, groups=frozenset({0})), "another owner for root"),
]


@pytest.mark.parametrize(("accepted", "access", "case"), MODES, ids=[case for *_, case in MODES])
def test_only_allowed_owners_and_modes_are_accepted(file: Path, accepted: bool, access: FileAccess, case: str) -> None:
    """Only the owner may: root or this process's user. On a read-only mount, a group of this process may too."""
    assert case
    if accepted:
        assert {"eu", "us"} == set(read_accounts(file, access=lambda _: access))
    else:
        with pytest.raises(ValueError, match=rf"{file} holds secrets, and (others can read it|belongs to user 8)"):
            read_accounts(file, access=lambda _: access)


def test_file_access_combines_file_and_process(file: Path) -> None:
    """Owner, group and mode are those of the file; user and groups are those of the process."""
    with file.open() as opened:
        access = FileAccess.of_file(opened.fileno())

    assert access is not None
    assert (0o600, os.getuid()) == (access.mode & 0o777, access.owner)
    assert access.owner == access.user
    assert access.group in access.groups
    assert not access.is_read_only


def test_modes_are_ignored_without_owners(file: Path) -> None:
    """On platforms without owners, such as Windows, the mode is ignored."""
    file.chmod(0o644)

    assert {"eu", "us"} == set(read_accounts(file, access=lambda _: None))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "ITNIO_API_KEY and ITNIO_API_SECRET are not set: set"),
        ({"ITNIO_API_KEY": "key"}, "ITNIO_API_SECRET is not set: set"),
        ({"ITNIO_API_SECRET": "secret"}, "ITNIO_API_KEY is not set: set"),
        ({"ITNIO_API_KEY": "key", "ITNIO_API_SECRET": ""}, "ITNIO_API_SECRET is not set: set"),
    ],
)
def test_missing_variables_are_named(variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing variables and the alternative, an accounts file."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"^{message} .*, or name a file of accounts in ITNIO_ACCOUNTS$"):
        find_accounts()


def test_hostile_names_are_printable(tmp_path: Path) -> None:
    """Names of accounts and files are printable in errors."""
    path = tmp_path / "a\x1b[31m.toml"
    path.write_text('["e\\u001b\\u202eu"]\napi_key = "k"\napi_secret = "s"\n')
    path.chmod(0o600)
    with pytest.raises(ValueError, match="there is no account 'x'") as caught:
        find_accounts(["x"], file=path)
    assert str(caught.value).isprintable()
    path.write_text('["e\\u001b\\u202eu"]\napi_key = "k"\napi_secret = "s"\n"\\u001b" = 1')
    with pytest.raises(ValueError, match="unknown") as caught:
        read_accounts(path)
    assert str(caught.value).isprintable()
