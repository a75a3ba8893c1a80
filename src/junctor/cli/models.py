"""`junctor models`, `endpoints` and `providers`: what can be asked, where and for how much, as a running router tells it.

They read with a user's own key and change nothing. Their options cost nothing to import; the rest comes when they run.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from junctor.cli.access import WrongUseError, add_options, find_target, given_tls, open_client
from junctor.cli.admin import Actions, plain
from junctor.cli.money import usd
from junctor.cli.numbers import whole
from junctor.cli.showing import show_json, show_table, tell
from junctor.cli.terminal import shown, write

if TYPE_CHECKING:
    from junctor.client import Client

Work: TypeAlias = "Callable[[Client, argparse.Namespace], None]"

TIMEOUT_S = 30.0
PAGE_SIZE = 200
"""Few enough that a router writes a page in some milliseconds, in which its other calls wait."""
SORTS = ("price", "context", "newest", "throughput", "latency", "popularity")
_NANO_A_MILLION_IN_PICO = 1_000
_COUNT_MAX = 10**9


def add_models(commands: Actions) -> None:
    """Add the three commands and their options."""
    models = commands.add_parser(
        "models",
        description="List the models that the router's credentials reach, and which variables of the server to set to reach "
        "more. Prices are in USD for a million tokens, at the cheapest endpoint.",
        epilog="Example: junctor models gpt --modality image --max-output-price 10 --sort price",
    )
    models.add_argument("text", metavar="TEXT", nargs="*", help="words of its name")
    for option, meaning in (
        ("provider", "at this provider"),
        ("modality", "that takes this, such as image"),
        ("output-modality", "that makes this, such as text"),
        ("parameter", "that understands this, such as tools"),
    ):
        models.add_argument(f"--{option}", metavar="NAME", action="append", default=[], help=f"{meaning}; may be repeated")
    models.add_argument("--context", metavar="TOKENS", type=whole(_COUNT_MAX), help="whose context holds so much")
    models.add_argument("--max-input-price", metavar="USD", type=_price, help="at most so much for a million tokens of input")
    models.add_argument("--max-output-price", metavar="USD", type=_price, help="at most so much for a million of output")
    models.add_argument("--sort", choices=SORTS, help="what comes first (default by name)")
    models.add_argument("--all", action="store_true", help="list also those that cannot be reached, and what opens them")
    endpoints = commands.add_parser(
        "endpoints",
        description="List the endpoints of a model. Prices are in USD for a million tokens.",
        epilog="Example: junctor endpoints openai/gpt-oss-120b",
    )
    endpoints.add_argument("model", metavar="MODEL", help="author/name, or an alias")
    providers = commands.add_parser(
        "providers",
        description="List the providers, how much of each can be reached, and which variables of the server open them.",
        epilog="Example: junctor providers --json",
    )
    for parser, work in ((models, _models), (endpoints, _endpoints), (providers, _providers)):
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        add_options(parser, TIMEOUT_S)
        parser.set_defaults(work=work, run=run_models)


def run_models(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask and show, and return the exit code: 0 shown, 1 the call failed, 2 wrongly used."""
    from junctor.cli.chat_report import explain
    from junctor.client import JunctorRpcError

    target = find_target(options.target, environ)
    try:
        with open_client(target, options.key_file, given_tls(options), environ) as client:
            options.work(client, options)
    except JunctorRpcError as error:
        tell(*explain(error, target, options.timeout))
        return 1
    except WrongUseError as problem:
        tell(str(problem))
        return 2
    return 0


def _models(client: "Client", options: argparse.Namespace) -> None:
    from junctor.cli.catalog_report import MODEL_HEADINGS, model_cells, openings, reach
    from junctor.client import ModelSort

    sort = ModelSort.Value(f"MODEL_SORT_{(options.sort or 'unspecified').upper()}")
    listing = client.catalog.list_models(
        page_size=PAGE_SIZE,
        timeout_s=options.timeout,
        sort=sort,
        text=" ".join(options.text),
        providers=options.provider,
        input_modalities=options.modality,
        output_modalities=options.output_modality,
        parameters=options.parameter,
        context_tokens_min=options.context,
        input_picousd_max=options.max_input_price,
        output_picousd_max=options.max_output_price,
    )
    found = list(listing)
    listed = [model for model in found if options.all or model.reachable_endpoint_count]
    if options.json:
        opened = [{"variables": variables, "models": count} for variables, count in openings(found)]
        show_json({"models": list(map(plain, listed)), "matching": len(found), "openings": opened})
        return
    if listed:
        show_table("Models, USD for a million tokens", (MODEL_HEADINGS, *map(model_cells, listed)))
    lines = reach(found) if found else ["There is no such model."]
    write("\n" * bool(listed) + "".join(shown(f"{line}\n", sys.stdout) for line in lines), sys.stdout)


def _endpoints(client: "Client", options: argparse.Namespace) -> None:
    from junctor.cli.catalog_report import ENDPOINT_HEADINGS, endpoint_cells, price_notes

    found = list(client.catalog.list_endpoints(options.model, page_size=PAGE_SIZE, timeout_s=options.timeout))
    if options.json:
        show_json({"endpoints": list(map(plain, found))})
        return
    found.sort(key=lambda endpoint: not endpoint.reachable)
    model = found[0].model if found else options.model
    show_table(f"Endpoints of {model}, USD for a million tokens", (ENDPOINT_HEADINGS, *map(endpoint_cells, found)))
    notes = [note for endpoint in found for note in price_notes(endpoint)]
    if notes:
        show_table("Other prices", notes)


def _providers(client: "Client", options: argparse.Namespace) -> None:
    from junctor.cli.catalog_report import PROVIDER_HEADINGS, provider_cells

    found = list(client.catalog.list_providers(page_size=PAGE_SIZE, timeout_s=options.timeout))
    if options.json:
        show_json({"providers": list(map(plain, found))})
        return
    found.sort(key=lambda provider: (-provider.reachable_endpoint_count, -provider.credential_count, provider.slug))
    show_table("Providers", (PROVIDER_HEADINGS, *map(provider_cells, found)))


def _price(text: str) -> int:
    """Read USD for a million units as pico-USD for one, exactly."""
    picousd, rest = divmod(usd(text), _NANO_A_MILLION_IN_PICO)
    if rest:
        raise argparse.ArgumentTypeError(f"{text} has more than six decimals")
    return picousd
