"""`junctor orgs` and `junctor keys` against a running control plane: what is shown, what is printed for pipes, how it fails."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from junctor.cli import admin
from junctor.cli.admin import ADMIN_KEY
from junctor.cli.keys import add_keys
from junctor.cli.orgs import add_orgs
from junctor.domain.account import KeyScope
from junctor.domain.errors import ApiKeyInvalidError
from junctor.doors.codec.forms import INSTANT_MAX_MS
from junctor.settings import ADMIN_TARGET_VARIABLE
from junctor.v1 import account_service_pb2 as pb
from tests.support.control_plane import ControlPlane, running_control_plane


class Shell:
    """Runs commands as an operator, unless another key is given."""

    def __init__(self, plane: ControlPlane, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.plane = plane
        self.capsys = capsys
        self.environ: Mapping[str, str] = {
            ADMIN_TARGET_VARIABLE: plane.target,
            ADMIN_KEY.variable: plane.operator,
            "JUNCTOR_DATA_DIR": str(folder),
        }

    async def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it wrote to standard output and error."""
        parser = argparse.ArgumentParser()
        commands = parser.add_subparsers(dest="command")
        add_orgs(commands)
        add_keys(commands)
        options = parser.parse_args(words)
        code = await asyncio.to_thread(admin.run, options, {**self.environ, **environ})
        return code, *self.capsys.readouterr()

    async def ok(self, *words: str) -> str:
        """Run a command that must succeed; return what it wrote to standard output."""
        code, out, err = await self.run(*words)
        assert code == 0, err
        return out

    async def json(self, *words: str) -> Any:
        """Run a command for its JSON."""
        return json.loads(await self.ok(*words, "--json"))


@pytest.fixture
async def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    """Return a shell beside a control plane."""
    async with running_control_plane() as plane:
        yield Shell(plane, tmp_path, capsys)


async def test_orgs_from_end_to_end(shell: Shell) -> None:
    """An operator could not set an organisation up from a terminal."""
    code, _, err = await shell.run("orgs", "show")
    assert (code, "junctor orgs create" in err) == (2, True)
    code, out, err = await shell.run("orgs", "list")
    assert (code, out, err) == (0, "", "There are no organisations.\n")
    made = await shell.json("orgs", "create", "Research")
    assert (made["name"], made["disabled"], made["recurring_grant"]) == ("Research", False, None)
    assert made["id"] in await shell.ok("orgs", "list")
    assert await shell.json("orgs", "list") == {"organisations": [made]}
    changed = await shell.json("orgs", "update", "--grant", "12.5", "--grant-kind", "metered", "--low-balance", "0.01")
    grant = {"kind": "metered", "amount_nanousd": 12_500_000_000, "interval": "month"}
    assert (changed["recurring_grant"], changed["low_balance_nanousd"]) == (grant, 10_000_000)
    shown = await shell.ok("orgs", "show")
    assert "$12.50 each month, metered" in shown
    assert "below $0.01" in shown
    assert (await shell.json("orgs", "update", "--disable"))["disabled"]
    assert not (await shell.json("orgs", "update", "--enable", "--name", "R", "--grant", "0"))["disabled"]
    code, _, err = await shell.run("orgs", "update", "--grant-every", "day")
    assert (code, err) == (2, "A grant is set as a whole: give --grant too.\n")
    assert "metered" not in await shell.ok("orgs", "show")


async def test_members_and_workspaces(shell: Shell) -> None:
    """An administrator could not say from a terminal who belongs to his organisation."""
    await shell.ok("orgs", "create", "Research")
    for family, more in (("members", ("--role", "billing")), ("workspaces", ())):
        assert (await shell.run("orgs", family, "list"))[2] == f"There are no {family}.\n"
        made = await shell.json("orgs", family, "add", "ada", "--name", "Ada", *more)
        assert (made["id"], made["name"], made.get("role", "billing")) == ("ada", "Ada", "billing")
        assert await shell.json("orgs", family, "list") == {family: [made]}
        assert "Ada" in await shell.ok("orgs", family, "list")
        assert "Lovelace" in await shell.ok("orgs", family, "update", "ada", "--name", "Lovelace")
        code, out, err = await shell.run("orgs", family, "remove", "ada")
        assert (code, out, "Removed ada" in err) == (0, "", True)
        code, out, err = await shell.run("orgs", family, "remove", "ada")
        assert (code, out, "RESOURCE_NOT_FOUND" in err) == (1, "", True)
    made = await shell.json("orgs", "members", "add", "bob")
    assert made["role"] == "member"
    changed = await shell.json("orgs", "members", "update", "bob", "--role", "admin", "--disable")
    assert (changed["role"], changed["disabled"], changed["name"]) == ("admin", True, "")


async def test_keys_from_end_to_end(shell: Shell) -> None:
    """A key could not be made, seen, bounded, exchanged or revoked from a terminal."""
    await shell.ok("orgs", "create", "Research")
    for family in ("members", "workspaces"):
        await shell.ok("orgs", family, "add", "ada")
    given = ("--member", "ada", "--workspace", "ada", "--models", "a/b, c/d", "--providers", "p", "--concurrency", "3")
    code, out, err = await shell.run("keys", "create", "ci", "--expires", "2999-01-01", *given)
    assert code == 0
    secret = out.removesuffix("\n")
    assert secret not in err
    await shell.plane.admission.admit(secret, KeyScope.COMPLETION)
    key_id = secret[3:15]
    assert key_id in err
    shown = await shell.json("keys", "show", key_id)
    assert (shown["member"], shown["workspace"], shown["expires_at_ms"]) == ("ada", "ada", 32_472_144_000_000)
    assert (shown["allowed_models"], shown["rates"]["concurrency"]) == ({"names": ["a/b", "c/d"]}, 3)
    for part in ("a/b, c/d", "concurrency", "until 2999-01-01 00:00 UTC"):
        assert part in await shell.ok("keys", "show", key_id)
    lifted = ("--all-models", "--all-providers", "--expires", "never", "--member", "", "--workspace", "")
    changed = await shell.json("keys", "update", key_id, "--name", "x", "--disable", "--requests-per-min", "9", *lifted)
    assert (changed["name"], changed["disabled"], changed["rates"]) == (
        "x",
        True,
        {"requests_per_min": 9, "tokens_per_min": None, "concurrency": None},
    )
    assert (changed["allowed_models"], changed["allowed_providers"], changed["expires_at_ms"]) == (None, None, None)
    assert [key["id"] for key in (await shell.json("keys", "list"))["api_keys"]] == [key_id]
    assert "disabled" in await shell.ok("keys", "list")
    await shell.ok("keys", "update", key_id, "--enable")
    code, out, err = await shell.run("keys", "rotate", key_id, "--keep-old", "3600")
    assert (code, out[3:15], "old secret is taken until" in err) == (0, key_id, True)
    rotated = await shell.json("keys", "rotate", key_id, "--keep-old", "0")
    assert (rotated["secret"][3:15], rotated["api_key"]["old_secret_until_ms"]) == (key_id, None)
    assert await shell.json("keys", "delete", key_id) == {"removed": key_id}
    shell.plane.clock.ahead_s += 60
    with pytest.raises(ApiKeyInvalidError):
        await shell.plane.admission.admit(rotated["secret"], KeyScope.COMPLETION)
    assert (await shell.run("keys", "list"))[2] == "There are no API keys to show.\n"


async def test_operators_keys(shell: Shell) -> None:
    """An operator key could not be made for another operator, or revoked."""
    made = await shell.json("keys", "create", "second", "--scope", "operator")
    assert made["api_key"]["scope"] == "operator"
    listed = await shell.json("keys", "list", "--operators")
    assert {key["id"] for key in listed["api_keys"]} == {made["api_key"]["id"], shell.plane.operator[3:15]}
    await shell.ok("keys", "delete", made["api_key"]["id"], "--operators")


async def test_which_organisation_is_meant(shell: Shell) -> None:
    """A command would change an organisation that nobody meant."""
    first = (await shell.json("orgs", "create", "One"))["id"]
    second = (await shell.json("orgs", "create", "Two"))["id"]
    code, _, err = await shell.run("orgs", "show")
    assert (code, err) == (2, "There are several organisations; give --organisation with an id of `junctor orgs list`.\n")
    assert "Two" in await shell.ok("orgs", "show", "--organisation", second)
    _, manager = await shell.plane.make_key(first, pb.API_KEY_SCOPE_MANAGEMENT)
    code, out, _ = await shell.run("orgs", "show", JUNCTOR_ADMIN_KEY=manager)
    assert (code, "One" in out) == (0, True)
    code, _, err = await shell.run("orgs", "show", "--organisation", second, JUNCTOR_ADMIN_KEY=manager)
    assert (code, "RESOURCE_NOT_FOUND" in err) == (1, True)


async def test_where_the_key_comes_from(shell: Shell, tmp_path: Path) -> None:
    """Whoever just started Junctor would have to copy its operator's key by hand, or it would leave this machine."""
    code, _, err = await shell.run("orgs", "list", JUNCTOR_ADMIN_KEY="")
    assert (code, ADMIN_KEY.variable in err) == (2, True)
    (tmp_path / ADMIN_KEY.file).write_text(shell.plane.operator + "\n")
    assert (await shell.run("orgs", "list", JUNCTOR_ADMIN_KEY=""))[0] == 0
    code, _, err = await shell.run("orgs", "list", "--target", "198.51.100.1:1", JUNCTOR_ADMIN_KEY="")
    assert (code, ADMIN_KEY.variable in err) == (2, True)
    other = tmp_path / "other"
    other.write_text("jk-nonsense")
    code, _, err = await shell.run("orgs", "list", "--key-file", str(other))
    assert (code, "API_KEY_INVALID" in err, "jk-nonsense" in err) == (1, True, False)


async def test_nothing_listens(shell: Shell) -> None:
    """A stack trace in place of what to do."""
    code, out, err = await shell.run("orgs", "list", "--target", "127.0.0.1:1", "--timeout", "5")
    assert (code, out) == (1, "")
    assert "Nothing answers at 127.0.0.1:1" in err


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create"),
        ("orgs",),
        ("orgs", "update", "--grant", "1.0000000001"),
        ("keys", "show"),
        ("keys", "create", "k", "--requests-per-min", "9" * 30),
        ("keys", "rotate", "k", "--keep-old", "-1"),
    ],
)
async def test_wrong_use(shell: Shell, words: tuple[str, ...]) -> None:
    """A slip of the pen would be sent."""
    with pytest.raises(SystemExit) as caught:
        await shell.run(*words)
    assert caught.value.code == 2


def test_instants_are_utc() -> None:
    """A key would end hours before or after it was meant to."""
    assert admin.instant("2027-01-31") == admin.instant("2027-01-31T01:00+01:00") == 1_801_353_600_000
    assert admin.at(1_801_353_600_000) == "2027-01-31 00:00 UTC"
    with pytest.raises(argparse.ArgumentTypeError):
        admin.instant("tomorrow")


def test_an_end_beyond_the_calendar_is_shown() -> None:
    """One key made to end after the year 9999 would make `junctor keys list` a traceback for everybody."""
    assert admin.at(admin.instant("9999-12-31T23:59")) == "9999-12-31 23:59 UTC"
    assert admin.at(INSTANT_MAX_MS) == "after the year 9999"
