"""`junctor credits`: what an organisation has, what changed it, and for operators what comes in and goes back.

Sums are typed and shown in USD, exactly, to the ninth decimal. Each movement has an id of the outside world's, such as an
invoice's, so a command that was cut off may be given again: it is booked once.
"""

import argparse
from typing import TYPE_CHECKING

from junctor.cli.admin import (
    Actions,
    Work,
    add_action,
    at,
    instant,
    organisation,
    pages,
    plain,
    run,
    show_list,
)
from junctor.cli.money import in_usd, usd
from junctor.cli.numbers import INT64_MAX, whole
from junctor.cli.showing import show_json, show_table, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from junctor.client.admin import AdminClient
    from junctor.client.admin import messages as pb

KINDS = ("payment", "refund", "chargeback", "move", "usage")
SHOWN_DEFAULT, PAGE_SIZE_MAX = 50, 1_000
_NANO_PER_PPM = 100_000
"""A millionth of the whole is a ten-thousandth of a percent."""
_WHOLE_PPM = 1_000_000
_TAKEN = frozenset({"refund", "chargeback", "usage"})


def add_credits(commands: Actions) -> None:
    """Add the command and its actions."""
    text = "Show an organisation's credits, and add, refund or charge back some."
    parser = commands.add_parser(
        "credits",
        description=text,
        epilog="Example: junctor credits add 250 --id invoice-17, then: junctor credits show",
    )
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    add_action(actions, "show", _show, "Show what there is, and its parts")
    entries = add_action(actions, "entries", _entries, "List what changed the balance, the oldest first")
    entries.add_argument("--kind", choices=KINDS, help="only these")
    entries.add_argument(
        "--limit", metavar="N", type=whole(INT64_MAX), default=SHOWN_DEFAULT, help="the most to show (default %(default)s)"
    )
    add = _movement(actions, "add", _add, "Credit a payment, less the fee; for operators")
    add.add_argument("--fee", metavar="PERCENT", type=_ppm, help="the fee, such as 5 or 2.5 (default the deployment's)")
    add.add_argument("--expires", metavar="DATE", type=instant, help="when the credits lapse (default never)")
    for name, work, does in (
        ("refund", _refund, "Give a part of a payment back; for operators"),
        ("chargeback", _charge_back, "Book that a part of a payment was charged back; for operators"),
    ):
        _movement(actions, name, work, does).add_argument(
            "--payment", metavar="ID", required=True, help="the id of the payment"
        )


def _movement(actions: Actions, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, work, text)
    parser.add_argument("amount", metavar="USD", type=usd, help="how much, such as 10 or 0.25")
    parser.add_argument("--id", metavar="ID", required=True, help="its id outside; the same id is booked once")
    return parser


def _show(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.GetCreditsRequest(organisation=organisation(client, options))
    found = client.call(client.account.GetCredits, request, options.timeout)
    if options.json:
        show_json(plain(found))
        return
    sums = (
        ("available", found.available_nanousd),
        ("leased to calls under way", found.leased_nanousd),
        ("spent", found.spent_nanousd),
        ("credited", found.credited_nanousd),
        ("owed", found.owed_nanousd),
        ("lapsed", found.expired_nanousd),
    )
    show_table("Credits", [(name, in_usd(amount)) for name, amount in sums])
    live = [purse for purse in found.purses if purse.available_nanousd or purse.leased_nanousd or purse.owed_nanousd]
    if len(live) > 1:
        show_table("Parts", [_purse_row(purse) for purse in live])


def _entries(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)
    kind = messages.LedgerEntryKind.Value(f"LEDGER_ENTRY_KIND_{(options.kind or 'unspecified').upper()}")
    size = min(options.limit, PAGE_SIZE_MAX)

    def fetch(token: str) -> "pb.ListLedgerEntriesResponse":
        request = messages.ListLedgerEntriesRequest(organisation=whose, kind=kind, page_size=size, page_token=token)
        return client.call(client.account.ListLedgerEntries, request, options.timeout)

    found: list[pb.LedgerEntry] = []
    more = False
    for page in pages(fetch):
        found += page.entries
        more = bool(page.next_page_token) or len(found) > options.limit
        if len(found) >= options.limit:
            break
    show_list(options, "Entries", found[: options.limit], _entry_row, "There are no entries.")
    if more and not options.json:
        tell("There may be more: give a higher --limit.")


def _add(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.AddCreditsRequest(
        organisation=organisation(client, options),
        payment_id=options.id,
        amount_nanousd=options.amount,
        fee_ppm=options.fee,
        expires_at_ms=options.expires,
    )
    booked = client.call(client.account.AddCredits, request, options.timeout)
    if options.json:
        show_json(plain(booked))
        return
    entry = booked.entry
    tell(f"Credited {in_usd(entry.amount_nanousd)} under {entry.id}, after a fee of {in_usd(entry.fee_nanousd)}.")
    tell(f"Available now: {in_usd(booked.available_nanousd)}.")


def _refund(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.RefundCreditsRequest(
        organisation=organisation(client, options),
        refund_id=options.id,
        payment_id=options.payment,
        amount_nanousd=options.amount,
    )
    _tell_return(client.call(client.account.RefundCredits, request, options.timeout).entry, options, "Refunded")


def _charge_back(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.ChargeBackCreditsRequest(
        organisation=organisation(client, options),
        chargeback_id=options.id,
        payment_id=options.payment,
        amount_nanousd=options.amount,
    )
    _tell_return(client.call(client.account.ChargeBackCredits, request, options.timeout).entry, options, "Charged back")


def _tell_return(entry: "pb.LedgerEntry", options: argparse.Namespace, done: str) -> None:
    if options.json:
        show_json(plain(entry))
    else:
        tell(f"{done} {in_usd(entry.amount_nanousd)} of {entry.payment_id} under {entry.id}.")


def _purse_row(purse: "pb.Purse") -> "Sequence[str]":
    lapses = f"lapses {at(purse.expires_at_ms)}" if purse.HasField("expires_at_ms") else ""
    owed = f"owes {in_usd(purse.owed_nanousd)}" if purse.owed_nanousd else ""
    return purse.id, in_usd(purse.available_nanousd), lapses, owed


def _entry_row(entry: "pb.LedgerEntry") -> "Sequence[str]":
    kind = str(plain(entry)["kind"])
    amount = in_usd(-entry.amount_nanousd if kind in _TAKEN else entry.amount_nanousd)
    about = f"of {entry.payment_id}" if entry.payment_id else ""
    if entry.target_purse:
        about = f"{entry.purse} to {entry.target_purse}"
    return kind, at(entry.at_ms), amount, entry.id, about


def _ppm(text: str) -> int:
    """Read a percentage of less than 100 as millionths."""
    try:
        ppm, rest = divmod(usd(text), _NANO_PER_PPM)
    except argparse.ArgumentTypeError:
        ppm, rest = _WHOLE_PPM, 0
    if rest or ppm >= _WHOLE_PPM:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage such as 5 or 2.5, below 100")
    return ppm
