"""`junctor audit` as an operator runs it: on the store of a data folder, with a server or without: what it says and returns."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.cli.audit import run_audit_command
from junctor.domain.account import Account
from junctor.ledger.auditing.findings import Audited, Difference
from junctor.ports.table import Add, UnavailableError
from junctor.records import accounts, keys, organisations
from junctor.records.tables import ALL_TABLES, CORE
from junctor.settings import Settings
from junctor.usecases.audit import Auditor, Unread, Verdict, summed_up, verdict
from tests.support.bank import ACCOUNT, DAY, Bank
from tests.support.faulty_table import FaultyTable
from tests.support.world import LoopClock, SeededDice

EMPTY = "EMPTY"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings whose data folder holds an account with money and one without."""
    settings = Settings.from_environment({"JUNCTOR_DATA_DIR": str(tmp_path), "JUNCTOR_STORE": "sqlite"})
    asyncio.run(fill(tmp_path))
    return settings


async def fill(folder: Path) -> None:
    """Make a store."""
    store = SqliteStore(folder / "store.sqlite3")
    await store.create(ALL_TABLES)
    bank = Bank(store)
    for name in (ACCOUNT, EMPTY):
        account = Account(id=name, name=f"The {name}", created_at_ms=0)
        await bank.table.put_new(accounts.account_item(account))
        await bank.table.put_new(organisations.listing_item(account))
    await bank.credit(2_500_000_001)
    await bank.limited(DAY)
    lease = await bank.leased(300, DAY)
    await bank.spent(lease, 0, 7)
    await store.close()


async def spoil(folder: Path) -> None:
    """Take a nano-USD out of a purse."""
    store = SqliteStore(folder / "store.sqlite3")
    await store.table(CORE).update(keys.purse(ACCOUNT, "main"), (), (Add("avail_nanousd", -1),))
    await store.close()


def report(settings: Settings, account: str | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, Mapping[str, object]]:
    """Audit with --json and return the exit code and the object."""
    code = run_audit_command(settings, account, as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_books_that_are_right_end_with_0(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A cron job could not tell that all is well, nor a person what was looked at."""
    assert run_audit_command(settings, None, as_json=False) == 0
    shown = capsys.readouterr().out
    for expected in (f"Account {ACCOUNT}", f"Account {EMPTY}", "leases 1", "I12 3", "$2.500000001", "2 accounts audited"):
        assert expected in shown
    code, found = report(settings, ACCOUNT, capsys)
    assert (code, found["verdict"]) == (0, "right")
    assert isinstance(found["accounts"], list)
    (one,) = found["accounts"]
    assert one["balance"]["credited_nanousd"] == 2_500_000_001
    assert one["items"]["slots"] == 1


def test_a_difference_ends_with_1_and_is_told_in_words(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Money could go missing, and the command say that all is well."""
    asyncio.run(spoil(tmp_path))
    assert run_audit_command(settings, None, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "I1 PURSE#main: 2500000001 nano-USD were credited" in shown
    assert "The books are wrong" in shown
    assert report(settings, ACCOUNT, capsys)[1]["verdict"] == "different"
    assert run_audit_command(settings, EMPTY, as_json=False) == 0


def test_what_is_not_there_ends_with_2(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped account or folder would look like right books."""
    assert run_audit_command(settings, "NOBODY", as_json=False) == 2
    assert "Account NOBODY: there is nothing of it in this store" in capsys.readouterr().out
    elsewhere = Settings.from_environment({"JUNCTOR_DATA_DIR": str(tmp_path / "none"), "JUNCTOR_STORE": "sqlite"})
    assert run_audit_command(elsewhere, None, as_json=False) == 2
    told = capsys.readouterr()
    assert "there is no store" in told.err
    assert told.out == ""
    assert not (tmp_path / "none").exists()


async def test_it_works_beside_a_server_and_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """Operators would have to stop their service to look at its books."""
    server = SqliteStore(tmp_path / "store.sqlite3")
    before = (tmp_path / "store.sqlite3").read_bytes()
    code = await asyncio.to_thread(run_audit_command, settings, None, as_json=True)
    assert code == 0
    await server.close()
    assert (tmp_path / "store.sqlite3").read_bytes() == before


async def test_an_account_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A store that fails midway would pass for books that are right."""
    await fill(tmp_path)
    store = SqliteStore(tmp_path / "store.sqlite3", read_only=True)
    table = FaultyTable(store.table(CORE))
    auditor = Auditor(table, LoopClock(), SeededDice())
    assert sorted(await auditor.accounts()) == [ACCOUNT, EMPTY]
    table.always("query", UnavailableError("the store is away"))
    assert await auditor.audit(ACCOUNT) == Unread(ACCOUNT, "the store is away")
    await store.close()


def test_a_difference_counts_before_what_could_not_be_judged() -> None:
    """A wrong account would hide behind a busy one."""
    right = Audited(account="a", items={}, checks={})
    moving = Audited(account="b", items={}, checks={}, moving=("PURSE#main",))
    wrong = Audited(account="c", items={}, checks={}, moving=("x",), differences=(Difference("I1", "c", "x", "y"),))
    verdicts = [verdict(finding) for finding in (right, moving, wrong, Unread("d", "gone"))]
    assert verdicts == [Verdict.RIGHT, Verdict.UNJUDGED, Verdict.DIFFERENT, Verdict.UNJUDGED]
    assert summed_up(set(verdicts)) is Verdict.DIFFERENT
    assert summed_up(set(verdicts[:2])) is Verdict.UNJUDGED
    assert summed_up({Verdict.RIGHT}) is summed_up(set()) is Verdict.RIGHT
