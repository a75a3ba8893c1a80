"""`junctor limits`: the most that an organisation, a workspace, a member or an API key may spend in each interval."""

import argparse
from typing import TYPE_CHECKING

from junctor.cli.admin import (
    Actions,
    add_action,
    at,
    organisation,
    pages,
    plain,
    run,
    show_list,
)
from junctor.cli.money import in_usd, usd
from junctor.cli.showing import show_json, show_table, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from junctor.client.admin import AdminClient
    from junctor.client.admin import messages as pb

INTERVALS = ("day", "week", "month", "all")


def add_limits(commands: Actions) -> None:
    """Add the command and its actions."""
    parser = commands.add_parser(
        "limits",
        description="Bound what an organisation, a workspace, a member or an API key may spend in each interval.",
        epilog="Example: junctor limits set 20 --every day --member ada",
    )
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    add_action(actions, "list", _list, "List the limits, and how much of each is used")
    wanted = add_action(actions, "set", _set, "Set a limit; what was spent before it was first set does not count")
    wanted.add_argument("amount", metavar="USD", type=usd, help="the most that may be spent, such as 20 or 0.50")
    gone = add_action(actions, "delete", _delete, "Remove a limit")
    for action in (wanted, gone):
        action.add_argument(
            "--every", choices=INTERVALS, default="month", help="when it begins anew, UTC (default %(default)s)"
        )
        subject = action.add_mutually_exclusive_group()
        subject.add_argument("--workspace", metavar="ID", help="of this workspace (default of the organisation)")
        subject.add_argument("--member", metavar="ID", help="of this member")
        subject.add_argument("--api-key", metavar="ID", help="of this API key (its id, not its secret)")


def _list(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)

    def fetch(token: str) -> "pb.ListLimitsResponse":
        request = messages.ListLimitsRequest(organisation=whose, page_size=1000, page_token=token)
        return client.call(client.account.ListLimits, request, options.timeout)

    found = [limit for page in pages(fetch) for limit in page.limits]
    show_list(options, "Limits", found, _row, "There are no limits.")


def _set(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    subject, subject_id = _subject(options)
    request = messages.SetLimitRequest(
        organisation=organisation(client, options),
        subject=subject,
        subject_id=subject_id,
        interval=_interval(options),
        limit_nanousd=options.amount,
    )
    limit = client.call(client.account.SetLimit, request, options.timeout).limit
    if options.json:
        show_json(plain(limit))
    else:
        show_table("Limit", [_row(limit)])


def _delete(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    subject, subject_id = _subject(options)
    request = messages.DeleteLimitRequest(
        organisation=organisation(client, options), subject=subject, subject_id=subject_id, interval=_interval(options)
    )
    client.call(client.account.DeleteLimit, request, options.timeout)
    if options.json:
        show_json({})
    else:
        tell("Removed. New calls are bound by it no more within seconds.")


def _subject(options: argparse.Namespace) -> "tuple[pb.LimitSubject.ValueType, str]":
    from junctor.client.admin import messages

    if options.workspace is not None:
        return messages.LIMIT_SUBJECT_WORKSPACE, options.workspace
    if options.member is not None:
        return messages.LIMIT_SUBJECT_MEMBER, options.member
    if options.api_key is not None:
        return messages.LIMIT_SUBJECT_API_KEY, options.api_key
    return messages.LIMIT_SUBJECT_ORGANISATION, ""


def _interval(options: argparse.Namespace) -> "pb.Interval.ValueType":
    from junctor.client.admin import messages

    return messages.Interval.Value(f"INTERVAL_{options.every.upper()}")


def _row(limit: "pb.Limit") -> "Sequence[str]":
    read = plain(limit)
    of = str(read["subject"]).replace("_", " ") + (f" {limit.subject_id}" if limit.subject_id else "")
    every = "for all time" if read["interval"] == "all" else f"each {read['interval']}"
    leased = f", {in_usd(limit.leased_nanousd)} leased" if limit.leased_nanousd else ""
    resets = f"anew {at(limit.resets_at_ms)}" if limit.HasField("resets_at_ms") else ""
    return of, f"{in_usd(limit.limit_nanousd)} {every}", f"{in_usd(limit.spent_nanousd)} spent{leased}", resets
