"""Mistakes that the ledger must not make, each written into the shipped source of one function, in memory.

A mutation is text for text, so it fails by itself where the source has changed; nothing in the package knows of it.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

from msgspec import Struct

from junctor.ledger import closing, leasing, limits, slots, trying
from junctor.ledger import credits as crediting
from junctor.records import generations, leases, payments, purses, requests, windows
from tests.simulation.schedules import growth_while_closing, refusal_in_doubt


class Patch(Struct, frozen=True):
    """A part of a mistake: in a function of a module, each of these texts becomes the other."""

    module: ModuleType
    function: str
    changes: tuple[tuple[str, str], ...]


class Mutation(Struct, frozen=True):
    """One mistake. `schedule` plays what shows it, and returns what was wrong then; without it, any seeds do."""

    name: str
    patches: tuple[Patch, ...]
    schedule: Callable[[], list[str]] | None = None


def _mistake(name: str, module: ModuleType, function: str, changes: tuple[tuple[str, str], ...]) -> Mutation:
    return Mutation(name, (Patch(module, function, changes),))


MUTATIONS = (
    _mistake(
        "no sealing",
        closing,
        "_end",
        (("put = await trying.put_new(table, dice, seal)", "return seal"),),
    ),
    _mistake("unconditional settle", generations, "ending", (("return _STILL_OPEN,", "return (),"),)),
    _mistake(
        "acquire without META",
        leasing,
        "acquire",
        (
            ("(entry, *takes), doubt)", "takes, doubt)"),
            ("return Leased(lease)", "return await trying.put_new(table, dice, entry.item) and Leased(lease)"),
            ("answer.index == 0", "answer.index < 0"),
            ("answer.index - 1", "answer.index"),
        ),
    ),
    _mistake(
        "own amount instead of the item's",
        leasing,
        "_as_found",
        (("return Leased(found)", "return Leased(lease)"),),
    ),
    Mutation(
        "META read before the slots",
        (
            Patch(
                closing,
                "close",
                (
                    (
                        "    spent = await",
                        "    early = await trying.get(table, dice, keys.lease(lease.account, lease.id))\n    spent = await",
                    ),
                    ("        found = await", "        found, early = early, None\n        found = found or await"),
                ),
            ),
        ),
        growth_while_closing,
    ),
    _mistake("close without the amount condition", leases, "closing", (("_still(lease)", "_still(lease)[:1]"),)),
    _mistake(
        "non-atomic close",
        closing,
        "close",
        (
            (
                "if isinstance(await trying.transact(table, dice, operations), Done):",
                "if [isinstance(await trying.update(table, dice, one), Done) for one in operations[::-1]][-1]:",
            ),
        ),
    ),
    _mistake(
        "limits in a separate write",
        leasing,
        "acquire",
        (
            ("(entry, *takes), doubt)", "(entry, *takes[: len(lease.legs)]), doubt)"),
            (
                "return Leased(lease)",
                "return [await trying.update(table, dice, one) for one in takes[len(lease.legs) :]] and None or Leased(lease)",
            ),
        ),
    ),
    _mistake("no IDEM", slots, "open_named", (("(claim, slot)", "(slot,)"), ("answer.index > 0", "answer.index == 0"))),
    _mistake(
        "refused slot taken for opened", slots, "_opening", (("return Opening.OPEN if", "return Opening.OPEN if True or"),)
    ),
    _mistake("refused end taken for ended", slots, "ended", (("return Ending.ENDED if", "return Ending.ENDED if True or"),)),
    _mistake("blind take-over", requests, "take_over", (('(Equals("generation", old),)', "()"),)),
    _mistake("window without ver", limits, "open_window", ((", windows.new_ver(limit))", ",)"),)),
    _mistake("ver only checked", windows, "new_ver", (('(Add("ver", 1),)', '(Add("ver", 0),)'),)),
    Mutation(
        "reset in place",
        (
            Patch(windows, "name", (("period(limit.interval, at_ms).name", '"NOW"'),)),
            Patch(
                limits,
                "open_window",
                (
                    (
                        "        if isinstance(answer, Done) or answer.index == 0:\n",
                        (
                            "        if isinstance(answer, Done):\n            return True\n"
                            "        if answer.index == 0:\n"
                            "            there = windows.window_of(answer.old)\n"
                            "            fresh = windows.msgspec.structs.replace(\n"
                            "                there, spent_nanousd=0, headroom_nanousd="
                            "there.limit_nanousd - there.leased_nanousd\n"
                            "            )\n"
                            "            await table.batch_put([windows.window_item(fresh)])\n"
                        ),
                    ),
                ),
            ),
        ),
    ),
    _mistake(
        "close to the current period",
        closing,
        "close",
        (
            (
                "exchanges.giving_back(entry, spent)",
                (
                    "exchanges.giving_back(msgspec.structs.replace(entry, windows=tuple('#'.join((*name.split('#')[:2], "
                    "exchanges.windows.period(exchanges.windows.Interval(name.split('#')[2].split('-')[0]), now_ms).name)) "
                    "for name in entry.windows)), spent)"
                ),
            ),
        ),
    ),
    _mistake("renew without state", leases, "closing", (("_still(lease)", "_still(lease)[1:]"),)),
    _mistake(
        "refund without journal",
        crediting,
        "_book_back",
        (
            ("(PutNew(payments.item(entry)), part, out)", "(part, out)"),
            ("booking = _judged(answer, entry)", "booking = Booking.BOOKED if isinstance(answer, Done) else None"),
            ("answer.index == 1", "answer.index == 0"),
        ),
    ),
    _mistake("refund without avail", purses, "debit", (("(AtLeast(AVAIL, amount),)", "()"),)),
    _mistake(
        "two-step move",
        crediting,
        "_book_into",
        (
            (
                "        answer = await",
                "        for one in before:\n            await trying.update(table, dice, one)\n        answer = await",
            ),
            ("*before, into), doubt)", "into), doubt)"),
            ("answer.index <= len(before)", "answer.index <= 0"),
        ),
    ),
    _mistake("grant ignoring state", purses, "exchange", (("(_OPEN, Equals(OWED, 0),", "(Equals(OWED, 0),"),)),
    _mistake("owed ignored", purses, "exchange", (("(_OPEN, Equals(OWED, 0),", "(_OPEN,"),)),
    Mutation(
        "doubt forgotten",
        (Patch(trying, "repeat", (("                doubt.unknown = error", "                pass"),)),),
        refusal_in_doubt,
    ),
    _mistake("any entry of an id taken for ours", payments, "same", (("return all(", "return bool("),)),
)
"""The twenty of the list in ledger.md, and four of our own.

For two the code has no place, as nothing resets a window and closing sees no clock: there the mistake brings its own. One is
nearly harmless: of META read before the slots the condition on its amount refuses what is out of date, and what is left is a
lease that grew meanwhile, and is taken for one that spent more than it had.
"""


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Let functions of the package be wrong for a while."""
    with ExitStack() as undo:
        for patch in mutation.patches:
            right = getattr(patch.module, patch.function)
            source = inspect.getsource(right)
            for old, new in patch.changes:
                assert source.count(old) == 1, f"{mutation.name}: the source has changed"
                source = source.replace(old, new)
            undo.callback(setattr, patch.module, patch.function, right)
            code = compile(source, f"<{mutation.name}>", "exec")
            exec(code, vars(patch.module))  # noqa: S102 - the source is our own, one text replaced
        yield
