"""What the commands that manage share: how to reach the control plane, for which organisation, and how to tell what came of it.

The key that `junctor up` left on this machine for its operator is sent to this machine only. A command asks, shows, and ends;
it never asks twice by itself, as some of what it does must not be done twice.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from junctor.cli.access import KeyPlace, WrongUseError, add_timeout, add_tls, check_target, find_key, find_tls, given_tls
from junctor.cli.showing import show_json, show_table, tell
from junctor.settings import ADMIN_KEY_VARIABLE, ADMIN_TARGET_VARIABLE, DEFAULT_ADMIN_TARGET, OPERATOR_KEY_FILE

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from junctor.client.admin import AdminClient

    Entry = TypeVar("Entry", bound=Message)

ADMIN_KEY = KeyPlace(ADMIN_KEY_VARIABLE, OPERATOR_KEY_FILE)
TIMEOUT_S = 30.0
_LAST_MS = 253_402_300_799_999
"""The last instant of the year 9999."""

Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - the type has no public name
Work: TypeAlias = "Callable[[AdminClient, argparse.Namespace], None]"


class Paged(Protocol):
    """An answer that may be continued."""

    @property
    def next_page_token(self) -> str:
        """Return what continues it, empty at the end."""


Listing = TypeVar("Listing", bound=Paged)


def add_options(parser: argparse.ArgumentParser, *, organisation: bool = True) -> None:
    """Add to a command how the control plane is reached, --json, and where it is of use --organisation."""
    parser.add_argument(
        "--target",
        metavar="HOST:PORT",
        help=f"the router's control plane (default {ADMIN_TARGET_VARIABLE} or {DEFAULT_ADMIN_TARGET})",
    )
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help=f"file with a management or operator key (default {ADMIN_KEY.variable}, then what junctor up wrote)",
    )
    if organisation:
        parser.add_argument(
            "--organisation",
            metavar="ID",
            default="",
            help="which organisation (default the key's own, or the only one there is)",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_tls(parser)
    add_timeout(parser, TIMEOUT_S)


def add_action(actions: Actions, name: str, work: Work, text: str, *, organisation: bool = True) -> argparse.ArgumentParser:
    """Add an action with its options, which `run` does by `work`; `text` says what it does, a sentence without its dot."""
    parser = actions.add_parser(name, help=text[0].lower() + text[1:], description=f"{text}.")
    add_options(parser, organisation=organisation)
    parser.set_defaults(work=work)
    return parser


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do the chosen action, and return the exit code: 0 done, 1 the call failed, 2 wrongly used."""
    from junctor.cli.chat_report import explain
    from junctor.client import JunctorRpcError

    try:
        with connect(options, environ) as client:
            options.work(client, options)
    except JunctorRpcError as error:
        tell(*explain(error, find_target(options, environ), options.timeout))
        return 1
    except WrongUseError as problem:
        tell(str(problem))
        return 2
    return 0


def find_target(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """Return where the control plane is: as given, else as the environment says, else on this machine."""
    return options.target or environ.get(ADMIN_TARGET_VARIABLE, "").strip() or DEFAULT_ADMIN_TARGET


def connect(options: argparse.Namespace, environ: Mapping[str, str]) -> "AdminClient":
    """Return a client for what the options say. Raises WrongUseError if there is no target or key, or TLS cannot be spoken."""
    from junctor.client.admin import AdminClient

    target = find_target(options, environ)
    check_target(target)
    secured = find_tls(given_tls(options), environ)
    key = find_key(options.key_file, target, environ, ADMIN_KEY)
    return AdminClient(target, key, tls=secured.tls, certificate=secured.certificate)


def organisation(client: "AdminClient", options: argparse.Namespace) -> str:
    """Return the organisation that is meant, empty for the key's own; for an operator, the only one there is.

    Raises WrongUseError if there are several or none, JunctorRpcError if they cannot be listed.
    """
    from junctor.client import JunctorRpcError
    from junctor.client.admin import messages

    if options.organisation:
        return str(options.organisation)
    try:
        page = client.call(client.account.ListOrganisations, messages.ListOrganisationsRequest(page_size=2), options.timeout)
    except JunctorRpcError as error:
        if error.reason == "SCOPE_MISSING":
            return ""
        raise
    found = list(page.organisations)
    if len(found) != 1 or page.next_page_token:
        some = "There is no organisation yet; make one with `junctor orgs create NAME`."
        several = "There are several organisations; give --organisation with an id of `junctor orgs list`."
        raise WrongUseError(several if found else some)
    return found[0].id


def pages(fetch: "Callable[[str], Listing]") -> "Iterator[Listing]":
    """Yield the pages of a list, which `fetch` gets by their token, the first by an empty one."""
    token: str | None = ""
    while token is not None:
        page = fetch(token)
        yield page
        token = page.next_page_token or None


def show_list(
    options: argparse.Namespace, title: str, found: "Sequence[Entry]", row: "Callable[[Entry], Sequence[str]]", none: str
) -> None:
    """Show what a list holds, in JSON under the title's words; `none` is said where it holds nothing."""
    if options.json:
        show_json({title.lower().replace(" ", "_"): [plain(entry) for entry in found]})
    elif found:
        show_table(title, [row(entry) for entry in found])
    else:
        tell(none)


def plain(message: "Message") -> dict[str, object]:
    """Return a message as JSON takes it: integers as numbers, enums as words, and null for what is absent."""
    from junctor.cli.chat_report import word

    read: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        held = getattr(message, field.name)
        if field.is_repeated:
            read[field.name] = [plain(entry) for entry in held] if field.message_type is not None else list(held)
        elif field.has_presence and not message.HasField(field.name):
            read[field.name] = None
        elif field.message_type is not None:
            read[field.name] = plain(held)
        else:
            read[field.name] = held if field.enum_type is None else word(message, field.name)
    return read


def instant(text: str) -> int:
    """Read a date or an instant (ISO 8601, UTC unless it says otherwise) as Unix milliseconds."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date such as 2027-01-31, or 2027-01-31T12:00") from None
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)


def at(instant_ms: int) -> str:
    """Write an instant of Unix milliseconds to the minute, in UTC; Python's calendar ends with the year 9999."""
    if instant_ms > _LAST_MS:
        return "after the year 9999"
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
