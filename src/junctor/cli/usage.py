"""`junctor usage`: what generations there were, asked of a running router with a user's own key.

Reading changes nothing, so it may be repeated at will. Its options cost nothing to import; the rest comes when it runs.
"""

import argparse
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from junctor.cli.access import WrongUseError, add_options, find_target, given_tls, open_client
from junctor.cli.numbers import INT64_MAX, whole
from junctor.cli.showing import show_json, show_table, tell

if TYPE_CHECKING:
    from junctor.client import Client

LIMIT_DEFAULT, PAGE_SIZE_MAX = 20, 1_000
TIMEOUT_S = 30.0


def add_usage(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    usage = commands.add_parser(
        "usage",
        description="Show what was generated, and what it cost.",
        epilog="Example: junctor usage list --limit 5",
    )
    usage.set_defaults(run=run_usage)
    actions = usage.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="show one generation", description="Show one generation, by the id of its answer.")
    show.add_argument("generation", metavar="GENERATION", type=_id, help="its id, gen-...")
    several = actions.add_parser("list", help="list generations", description="List generations, the newest first.")
    several.add_argument(
        "--api-key", metavar="ID", type=_id, default="", help="only those of this API key (its id, not its secret)"
    )
    several.add_argument(
        "--limit", metavar="N", type=whole(INT64_MAX), default=LIMIT_DEFAULT, help="the most to show (default %(default)s)"
    )
    for action in (show, several):
        action.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        add_options(action, TIMEOUT_S)


def run_usage(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask and show, and return the exit code: 0 shown, 1 the call failed, 2 wrongly used."""
    from junctor.cli.chat_report import explain
    from junctor.client import JunctorRpcError

    target = find_target(options.target, environ)
    try:
        with open_client(target, options.key_file, given_tls(options), environ) as client:
            if options.action == "show":
                _show(client, options)
            else:
                _list(client, options)
    except JunctorRpcError as error:
        tell(*explain(error, target, options.timeout))
        return 1
    except WrongUseError as problem:
        tell(str(problem))
        return 2
    return 0


def _show(client: "Client", options: argparse.Namespace) -> None:

    from junctor.cli.usage_report import details, read_generation

    record = read_generation(client.get_generation(options.generation, timeout_s=options.timeout))
    if options.json:
        show_json(record)
    else:
        show_table(record.id, details(record))


def _list(client: "Client", options: argparse.Namespace) -> None:

    from junctor.cli.usage_report import read_generation, summary

    found = client.list_generations(
        api_key=options.api_key, page_size=min(options.limit, PAGE_SIZE_MAX), timeout_s=options.timeout
    )
    records = [read_generation(generation) for generation in islice(found, options.limit)]
    if options.json:
        show_json({"generations": records})
    elif records:
        show_table("Generations, the newest first", [summary(record) for record in records])
    else:
        tell("There are no generations to show.")


def _id(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError("this is not an id")
    return text
