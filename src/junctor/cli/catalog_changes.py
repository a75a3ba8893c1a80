"""`junctor catalog override|discount|endpoint`: what an operator changes in the catalogue of a running deployment.

Prices are typed and shown in USD for a million tokens, or for one request or image, exactly. A running router is asked, with an
operator's key; its instances follow within seconds.
"""

import argparse
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from junctor.cli.admin import Actions, Work, add_action, at, instant, plain, show_list
from junctor.cli.numbers import INT64_MAX, whole
from junctor.cli.showing import show_json, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from junctor.client import PriceParts
    from junctor.client.admin import AdminClient
    from junctor.client.admin import catalog_messages as pb

PICO_A_MILLIONTH, PICO = 10**6, 10**12
PPM_A_PERCENT = 10_000
PER_TOKEN = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input", "audio_output")
PER_PIECE = ("request", "image_input")
PARAMETERS_DEFAULT = "max_tokens,stop,temperature,top_p"
_USD_MAX = 10**6


def add_changes(actions: Actions) -> None:
    """Add the three kinds of changes to `junctor catalog`."""
    _add_overrides(_kind(actions, "override", "set what an endpoint costs, whatever is listed", "override"))
    _add_discounts(_kind(actions, "discount", "take a discount off the listed prices of a provider or an endpoint", "discount"))
    _add_endpoints(_kind(actions, "endpoint", "add models that you serve yourself", "endpoint"))


def _kind(actions: Actions, name: str, text: str, dest: str) -> Actions:
    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}; for operators.")
    found: Actions = parser.add_subparsers(dest=dest, title="actions", metavar="ACTION", required=True)
    return found


def _add_overrides(actions: Actions) -> None:
    wanted = _change(actions, "set", _set_override, "Set what an endpoint costs; calls under way keep their price")
    wanted.add_argument("endpoint", metavar="ENDPOINT", help="the endpoint's id, provider/author/name")
    _add_prices(wanted)
    wanted.add_argument("--until", metavar="DATE", type=instant, help="until when (default for ever)")
    wanted.add_argument("--note", metavar="TEXT", default="", help="why, for people")
    gone = _change(actions, "remove", _remove_override, "Go back to the listed price")
    gone.add_argument("endpoint", metavar="ENDPOINT", help="the endpoint's id")
    for action in (wanted, gone):
        action.add_argument("--from", dest="since", metavar="DATE", type=instant, help="from when (default from ever)")
    add_action(actions, "list", _list_overrides, "List the prices that are set", organisation=False)


def _add_discounts(actions: Actions) -> None:
    wanted = _change(actions, "set", _set_discount, "Set a discount; discounted prices are rounded up")
    wanted.add_argument("subject", metavar="SUBJECT", help="a provider's slug, or an endpoint's id")
    wanted.add_argument("off", metavar="PERCENT", type=percent, help="how much off, such as 20 or 12.5")
    wanted.add_argument("--note", metavar="TEXT", default="", help="why, for people")
    gone = _change(actions, "remove", _remove_discount, "Remove a discount")
    gone.add_argument("subject", metavar="SUBJECT", help="a provider's slug, or an endpoint's id")
    add_action(actions, "list", _list_discounts, "List the discounts", organisation=False)


def _add_endpoints(actions: Actions) -> None:
    wanted = _change(actions, "add", _add_endpoint, "Add an endpoint of your own, or replace it")
    wanted.add_argument("provider", metavar="PROVIDER", help="a name of your own for the server, such as vllm-eu")
    wanted.add_argument("model", metavar="MODEL", help="the model, author/name: one of the catalogue, or a new one")
    wanted.add_argument(
        "base_url",
        metavar="URL",
        help="where /chat/completions is, such as https://gpu.example.com/v1; a private host, or http, must be in the routers' "
        "JUNCTOR_PRIVATE_HOSTS",
    )
    wanted.add_argument("--upstream-model", metavar="NAME", help="the server's own name of the model (default MODEL)")
    wanted.add_argument("--credential", metavar="NAME", default="", help="the variable with its key, ENDPOINT_KEY_...")
    _add_prices(wanted)
    wanted.add_argument("--context", metavar="N", type=whole(), help="the longest context in tokens")
    wanted.add_argument("--max-output", metavar="N", type=whole(), help="the longest answer in tokens")
    wanted.add_argument(
        "--parameters", metavar="A,B", default=PARAMETERS_DEFAULT, help="what it understands (default %(default)s)"
    )
    wanted.add_argument("--region", metavar="NAME", default="", help="where it stands")
    for name, text in (("trains", "trains on"), ("retains", "keeps"), ("zdr", "promises not to keep")):
        wanted.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=f"whether it {text} what it is sent")
    wanted.add_argument("--note", metavar="TEXT", default="", help="for people")
    gone = _change(actions, "remove", _remove_endpoint, "Remove an endpoint of your own; calls under way there go on")
    gone.add_argument("id", metavar="ENDPOINT", help="its id, provider/author/name")
    add_action(actions, "list", _list_endpoints, "List your own endpoints", organisation=False)


def _change(actions: Actions, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, work, text, organisation=False)
    parser.add_argument(
        "--if-version",
        metavar="N",
        type=whole(INT64_MAX, least=0),
        help="refuse if the records are not at this version any more",
    )
    return parser


def _add_prices(parser: argparse.ArgumentParser) -> None:
    for part in PER_TOKEN:
        needed = part in {"input", "output"}
        words = part.replace("_", " ")
        flag = f"--{part.replace('_', '-')}"
        text = f"USD for a million tokens: {words}"
        parser.add_argument(flag, dest=f"price_{part}", metavar="USD", type=per_million, required=needed, help=text)
    for part in PER_PIECE:
        flag = f"--{part.replace('_', '-')}"
        text = f"USD for each {'image sent' if part == 'image_input' else part}"
        parser.add_argument(flag, dest=f"price_{part}", metavar="USD", type=per_piece, help=text)


def per_million(text: str) -> int:
    """Read USD for a million tokens as pico-USD for one, exactly."""
    return _scaled(text, PICO_A_MILLIONTH, "a price in USD for a million tokens, to the sixth decimal, such as 0.25")


def per_piece(text: str) -> int:
    """Read USD for one thing as pico-USD, exactly."""
    return _scaled(text, PICO, "a price in USD, to the twelfth decimal, such as 0.002")


def percent(text: str) -> int:
    """Read a percentage as millionths, exactly."""
    return _scaled(text, PPM_A_PERCENT, "a percentage up to 100, to the fourth decimal, such as 12.5", most=100)


def _scaled(text: str, factor: int, what: str, most: int = _USD_MAX) -> int:
    try:
        value = Decimal(text) if len(text) <= len(str(PICO)) * 2 else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= most or value * factor % 1:
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return int(value * factor)


def _parts(options: argparse.Namespace) -> "PriceParts":
    from junctor.client import PriceParts

    return PriceParts(**{part: getattr(options, f"price_{part}") for part in (*PER_TOKEN, *PER_PIECE)})


def _set_override(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    override = messages.PriceOverride(
        endpoint=options.endpoint,
        parts=_parts(options),
        valid_from_ms=options.since,
        valid_to_ms=options.until,
        note=options.note,
    )
    request = messages.SetPriceOverrideRequest(price_override=override, version=options.if_version)
    _told(options, client.call(client.catalog.SetPriceOverride, request, options.timeout).version)


def _remove_override(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    request = messages.DeletePriceOverrideRequest(
        endpoint=options.endpoint, valid_from_ms=options.since, version=options.if_version
    )
    _told(options, client.call(client.catalog.DeletePriceOverride, request, options.timeout).version)


def _set_discount(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    discount = messages.Discount(subject=options.subject, off_ppm=options.off, note=options.note)
    request = messages.SetDiscountRequest(discount=discount, version=options.if_version)
    _told(options, client.call(client.catalog.SetDiscount, request, options.timeout).version)


def _remove_discount(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    request = messages.DeleteDiscountRequest(subject=options.subject, version=options.if_version)
    _told(options, client.call(client.catalog.DeleteDiscount, request, options.timeout).version)


def _add_endpoint(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    policy = {name: getattr(options, name) for name in ("trains", "retains", "zdr")}
    endpoint = messages.PrivateEndpoint(
        provider=options.provider,
        model=options.model,
        upstream_model=options.upstream_model or options.model,
        base_url=options.base_url,
        credential=options.credential,
        context_tokens=options.context,
        output_tokens_max=options.max_output,
        parameters=[name for name in map(str.strip, options.parameters.split(",")) if name],
        parts=_parts(options),
        region=options.region,
        note=options.note,
    )
    if any(value is not None for value in policy.values()):
        for name, value in policy.items():
            if value is not None:
                setattr(endpoint.data_policy, name, value)
    request = messages.SetPrivateEndpointRequest(private_endpoint=endpoint, version=options.if_version)
    _told(options, client.call(client.catalog.SetPrivateEndpoint, request, options.timeout).version)


def _remove_endpoint(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import catalog_messages as messages

    request = messages.DeletePrivateEndpointRequest(id=options.id, version=options.if_version)
    _told(options, client.call(client.catalog.DeletePrivateEndpoint, request, options.timeout).version)


def _told(options: argparse.Namespace, version: int) -> None:
    if options.json:
        show_json({"version": version})
    else:
        tell(f"Done: the catalogue's records are at version {version}. Instances follow within seconds.")


def _list_overrides(client: "AdminClient", options: argparse.Namespace) -> None:
    def row(found: "pb.PriceOverride") -> "Sequence[str]":
        since = f"from {at(found.valid_from_ms)}" if found.HasField("valid_from_ms") else ""
        until = f"until {at(found.valid_to_ms)}" if found.HasField("valid_to_ms") else ""
        return found.endpoint, _price(found.parts), f"set {found.as_of}", f"{since} {until}".strip(), found.note

    records = _records(client, options)
    _show(options, records, "Price overrides", records.price_overrides, row)


def _list_discounts(client: "AdminClient", options: argparse.Namespace) -> None:
    def row(found: "pb.Discount") -> "Sequence[str]":
        return found.subject, f"{Decimal(found.off_ppm) / PPM_A_PERCENT:f} % off", found.note

    records = _records(client, options)
    _show(options, records, "Discounts", records.discounts, row)


def _list_endpoints(client: "AdminClient", options: argparse.Namespace) -> None:
    def row(found: "pb.PrivateEndpoint") -> "Sequence[str]":
        return found.id, found.base_url, _price(found.parts), found.credential or "no key", found.note

    records = _records(client, options)
    _show(options, records, "Private endpoints", records.private_endpoints, row)


def _records(client: "AdminClient", options: argparse.Namespace) -> "pb.ListCatalogRecordsResponse":
    from junctor.client.admin import catalog_messages as messages

    return client.call(client.catalog.ListCatalogRecords, messages.ListCatalogRecordsRequest(), options.timeout)


def _show(
    options: argparse.Namespace,
    records: "pb.ListCatalogRecordsResponse",
    title: str,
    found: "Sequence[pb.PriceOverride] | Sequence[pb.Discount] | Sequence[pb.PrivateEndpoint]",
    row: "Callable[..., Sequence[str]]",
) -> None:
    """Show one kind of records, and what of all kinds is not in force."""
    if options.json:
        passed_over = [plain(entry) for entry in records.passed_over]
        entries = [plain(entry) for entry in found]
        show_json({"version": records.version, title.lower().replace(" ", "_"): entries, "passed_over": passed_over})
        return
    show_list(options, title, list(found), row, f"There are no {title.lower()}.")
    for entry in records.passed_over:
        tell(f"Not in force: {entry.name}: {entry.text}.")


def _price(parts: "PriceParts") -> str:
    """Write a price: USD for a million tokens in and out, then whatever else is named."""
    more = [field.name for field, _ in parts.ListFields() if field.name not in {"input", "output"}]
    named = [f"{name.replace('_', ' ')} {_usd(parts, name)}" for name in more]
    return ", ".join((f"{_usd(parts, 'input')} / {_usd(parts, 'output')}", *named))


def _usd(parts: "PriceParts", name: str) -> str:
    price = Decimal(getattr(parts, name)) / (PICO_A_MILLIONTH if name in PER_TOKEN else PICO)
    return f"{price.normalize():f}"
