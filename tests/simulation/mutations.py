"""Mistakes that the ledger must not make, each written into the shipped source of one function, in memory.

A mutation is text for text, so it fails by itself where the source has changed; nothing in the package knows of it.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from msgspec import Struct

from junctor.ledger import closing, leasing, limits, slots
from junctor.ledger import credits as crediting
from junctor.records import generations, leases, payments, purses, requests, windows


class Mutation(Struct, frozen=True):
    """One mistake: in a function of a module, each of these texts becomes the other."""

    name: str
    module: ModuleType
    function: str
    changes: tuple[tuple[str, str], ...]


MUTATIONS = (
    Mutation(
        "no sealing",
        closing,
        "_end",
        (("put = await trying.put_new(table, dice, seal)", "return seal"),),
    ),
    Mutation("unconditional settle", generations, "ending", (("return _STILL_OPEN,", "return (),"),)),
    Mutation(
        "acquire without META",
        leasing,
        "acquire",
        (
            ("(entry, *takes))", "takes)"),
            ("return Leased(lease)", "return await trying.put_new(table, dice, entry.item) and Leased(lease)"),
            ("answer.index == 0", "answer.index < 0"),
            ("answer.index - 1", "answer.index"),
        ),
    ),
    Mutation(
        "own amount instead of the item's",
        leasing,
        "_as_found",
        (("return Leased(found)", "return Leased(lease)"),),
    ),
    Mutation("close without the amount condition", leases, "closing", (("_still(lease)", "_still(lease)[:1]"),)),
    Mutation(
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
    Mutation(
        "limits in a separate write",
        leasing,
        "acquire",
        (
            ("(entry, *takes))", "(entry, *takes[: len(lease.legs)]))"),
            (
                "return Leased(lease)",
                "return [await trying.update(table, dice, one) for one in takes[len(lease.legs) :]] and None or Leased(lease)",
            ),
        ),
    ),
    Mutation("no IDEM", slots, "open_named", (("(claim, slot)", "(slot,)"), ("answer.index > 0", "answer.index == 0"))),
    Mutation(
        "refused slot taken for opened", slots, "_opening", (("return Opening.OPEN if", "return Opening.OPEN if True or"),)
    ),
    Mutation("refused end taken for ended", slots, "end_slot", (("return Ending.ENDED if", "return Ending.ENDED if True or"),)),
    Mutation("blind take-over", requests, "take_over", (('(Equals("generation", old),)', "()"),)),
    Mutation("window without ver", limits, "open_window", ((", windows.new_ver(limit))", ",)"),)),
    Mutation("ver only checked", windows, "new_ver", (('(Add("ver", 1),)', '(Add("ver", 0),)'),)),
    Mutation("renew without state", leases, "closing", (("_still(lease)", "_still(lease)[1:]"),)),
    Mutation(
        "refund without journal",
        crediting,
        "refund",
        (
            ("(PutNew(payments.item(entry)), part, out)", "(part, out)"),
            ("booking = _judged(answer, entry)", "booking = Booking.BOOKED if isinstance(answer, Done) else None"),
            ("answer.index == 1", "answer.index == 0"),
        ),
    ),
    Mutation("refund without avail", purses, "debit", (("(AtLeast(AVAIL, amount),)", "()"),)),
    Mutation(
        "two-step move",
        crediting,
        "_book_into",
        (
            (
                "        answer = await",
                "        for one in before:\n            await trying.update(table, dice, one)\n        answer = await",
            ),
            ("*before, into))", "into))"),
            ("answer.index <= len(before)", "answer.index <= 0"),
        ),
    ),
    Mutation("grant ignoring state", purses, "exchange", (("(_OPEN, Equals(OWED, 0),", "(Equals(OWED, 0),"),)),
    Mutation("owed ignored", purses, "exchange", (("(_OPEN, Equals(OWED, 0),", "(_OPEN,"),)),
    Mutation("any entry of an id taken for ours", payments, "same", (("return all(", "return bool("),)),
)
"""Of the list in ledger.md all for which the code has a place, and three of our own.

Two have none, as nothing resets a window and closing sees no clock: reset in place, and close to the current period. One is
harmless: META may be read before the slots, as the condition on its amount refuses what is out of date.
"""


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Let a function of the package be wrong for a while."""
    module = mutation.module
    right = getattr(module, mutation.function)
    source = inspect.getsource(right)
    for old, new in mutation.changes:
        assert source.count(old) == 1, f"{mutation.name}: the source has changed"
        source = source.replace(old, new)
    exec(compile(source, f"<{mutation.name}>", "exec"), vars(module))  # noqa: S102 - the source is our own, one text replaced
    try:
        yield
    finally:
        setattr(module, mutation.function, right)
