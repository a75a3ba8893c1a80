"""`junctor credits` and `junctor limits` against the real methods over a simulated store, without a wire between."""

import argparse
import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.message import Message

from junctor.cli.credits import add_credits
from junctor.cli.limits import add_limits
from junctor.domain.account import Actor
from tests.support.bank import ACCOUNT, Bank, JudgedStore
from tests.support.desk import ADMIN, KEY, OPERATOR, Desk
from tests.support.virtual_loop import VirtualLoop

Junctor = Callable[..., None]
NOTHING = {"leased_nanousd": 0, "spent_nanousd": 0, "owed_nanousd": 0, "expired_nanousd": 0}


class _Names:
    """Stands for a stub: each of its methods is its name."""

    def __getattr__(self, name: str) -> str:
        return name


class _Client:
    """Calls the methods of a desk where a client would send."""

    def __init__(self, desk: Desk, runner: asyncio.Runner, actor: Actor) -> None:
        self.account = _Names()
        self._desk, self._runner, self._actor = desk, runner, actor

    def call(self, method: str, request: Message, timeout_s: float) -> Message:
        """Ask."""
        assert type(request).DESCRIPTOR.name == f"{method}Request"
        assert timeout_s == 30.0
        return self._runner.run(self._desk.ask(self._actor, request))


@pytest.fixture
def junctor() -> Iterator[Junctor]:
    """Return what does a command as an operator of one organisation, or as its administrator."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        desk = Desk(Bank(JudgedStore()))

        async def opened() -> None:
            await desk.bank.open()
            await desk.open()

        runner.run(opened())

        def junctor(*words: str, actor: Actor = OPERATOR) -> None:
            parser = argparse.ArgumentParser(prog="junctor")
            commands = parser.add_subparsers(dest="command")
            add_credits(commands)
            add_limits(commands)
            options = parser.parse_args([*words[:2], "--organisation", ACCOUNT, *words[2:]])
            options.work(_Client(desk, runner, actor), options)

        yield junctor


def lines(text: str) -> list[str]:
    """Return each line with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_credits_come_go_and_are_shown(junctor: Junctor, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator would book another sum than he typed, or read another than there is."""
    junctor("credits", "add", "100", "--id", "invoice-1")
    junctor("credits", "add", "100", "--id", "invoice-1")
    junctor("credits", "add", "0.000000001", "--id", "tiny", "--fee", "2.5")
    junctor("credits", "refund", "5.50", "--id", "r1", "--payment", "invoice-1")
    junctor("credits", "chargeback", "0.25", "--id", "c1", "--payment", "invoice-1")
    out, told = capsys.readouterr()
    assert out == ""
    assert lines(told) == [
        "Credited $95.00 under invoice-1, after a fee of $5.00.",
        "Available now: $95.00.",
        "Credited $95.00 under invoice-1, after a fee of $5.00.",
        "Available now: $95.00.",
        "Credited $0.000000001 under tiny, after a fee of $0.00.",
        "Available now: $95.000000001.",
        "Refunded $5.50 of invoice-1 under r1.",
        "Charged back $0.25 of invoice-1 under c1.",
    ]
    junctor("credits", "show", actor=ADMIN)
    assert lines(capsys.readouterr().out) == [
        "Credits",
        "available $89.250000001",
        "leased to calls under way $0.00",
        "spent $0.00",
        "credited $89.250000001",
        "owed $0.00",
        "lapsed $0.00",
    ]
    junctor("credits", "entries")
    assert [line.split(" UTC ")[-1] for line in lines(capsys.readouterr().out)] == [
        "Entries",
        "$95.00 invoice-1",
        "$0.000000001 tiny",
        "-$5.50 r1 of invoice-1",
        "-$0.25 c1 of invoice-1",
    ]
    junctor("credits", "entries", "--limit", "1")
    out, told = capsys.readouterr()
    assert len(lines(out)) == 2
    assert told == "There may be more: give a higher --limit.\n"
    junctor("credits", "entries", "--kind", "move")
    assert capsys.readouterr().err == "There are no entries.\n"


def test_credits_that_lapse_are_shown_as_parts(junctor: Junctor, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody would see when his credits lapse."""
    junctor("credits", "add", "1", "--id", "a", "--fee", "0")
    junctor("credits", "add", "2", "--id", "b", "--fee", "0", "--expires", "2100-01-31")
    capsys.readouterr()
    junctor("credits", "show")
    shown = lines(capsys.readouterr().out)
    assert shown[-2] == "main $1.00"
    assert shown[-1].endswith("$2.00 lapses 2100-01-31 00:00 UTC")


def test_credits_as_json(junctor: Junctor, capsys: pytest.CaptureFixture[str]) -> None:
    """A script would have to read tables, or lose nano-dollars to a float."""
    junctor("credits", "add", "10", "--id", "a", "--json")
    added = json.loads(capsys.readouterr().out)
    assert (added["entry"]["kind"], added["entry"]["fee_nanousd"], added["available_nanousd"]) == (
        "payment",
        5 * 10**8,
        95 * 10**8,
    )
    junctor("credits", "refund", "1", "--id", "r", "--payment", "a", "--json")
    assert json.loads(capsys.readouterr().out)["amount_nanousd"] == 10**9
    junctor("credits", "show", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert {name: shown[name] for name in NOTHING} == NOTHING
    assert shown["purses"][0]["expires_at_ms"] is None
    junctor("credits", "entries", "--json")
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)["entries"]] == ["a", "r"]


@pytest.mark.parametrize("amount", ["-1", "1e3", "1.0000000001", "ten", "1,5", "NaN", "9223372036.854775808"])
def test_what_is_no_sum_is_not_sent(junctor: Junctor, capsys: pytest.CaptureFixture[str], amount: str) -> None:
    """A mistyped sum would be booked as another one."""
    with pytest.raises(SystemExit):
        junctor("credits", "add", "--id", "a", "--", amount)
    assert "is not a sum of USD" in capsys.readouterr().err


@pytest.mark.parametrize("fee", ["100", "1.00001", "-1", "half"])
def test_what_is_no_fee_is_not_sent(junctor: Junctor, capsys: pytest.CaptureFixture[str], fee: str) -> None:
    """A mistyped fee would be taken as another one."""
    with pytest.raises(SystemExit):
        junctor("credits", "add", "1", "--id", "a", f"--fee={fee}")
    assert "is not a percentage" in capsys.readouterr().err


def test_limits_are_set_listed_and_removed(junctor: Junctor, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit would be set on something else than was said."""
    for words in ((), ("--workspace", "lab", "--every", "week"), ("--member", "ada", "--every", "day")):
        junctor("limits", "set", "20", *words, actor=ADMIN)
    junctor("limits", "set", "0.50", "--api-key", KEY, "--every", "all")
    capsys.readouterr()
    junctor("limits", "list")
    assert [line.split(" spent")[0] for line in lines(capsys.readouterr().out)] == [
        "Limits",
        f"api key {KEY} $0.50 for all time $0.00",
        "member ada $20.00 each day $0.00",
        "organisation $20.00 each month $0.00",
        "workspace lab $20.00 each week $0.00",
    ]
    junctor("limits", "delete", "--member", "ada", "--every", "day")
    junctor("limits", "list", "--json")
    out, told = capsys.readouterr()
    assert told.startswith("Removed.")
    assert [limit["subject"] for limit in json.loads(out)["limits"]] == ["api_key", "organisation", "workspace"]


def test_no_limits(junctor: Junctor, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list would look like a command that failed."""
    junctor("limits", "list")
    assert capsys.readouterr() == ("", "There are no limits.\n")
