"""`junctor keys`: API keys. A new secret is printed once, alone on standard output, to be piped to where it belongs."""

import argparse
import sys
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
from junctor.cli.numbers import whole
from junctor.cli.orgs import add_switch
from junctor.cli.showing import show_json, show_table, tell
from junctor.cli.terminal import write

if TYPE_CHECKING:
    from junctor.client.admin import AdminClient
    from junctor.client.admin import messages as pb

SCOPES = ("completion", "management", "operator")
RATES = ("requests_per_min", "tokens_per_min", "concurrency")
NEVER = "never"


def add_keys(commands: Actions) -> None:
    """Add the command and its actions."""
    keys = commands.add_parser(
        "keys",
        description="Manage API keys through a running router. Instances follow every change within a minute.",
        epilog="Example: junctor keys create ci --requests-per-min 60 > ci.key",
    )
    keys.set_defaults(run=run)
    actions = keys.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    _add(actions, "list", _list, "List the keys, without their secrets")
    _with_id(actions, "show", _show, "Show a key, without its secret")
    create = add_action(actions, "create", _create, "Make a key and print its secret, once")
    create.add_argument("name", metavar="NAME", help="what people call it")
    create.add_argument("--scope", choices=SCOPES, default=SCOPES[0], help="what it may be used for (default %(default)s)")
    _add_fields(create)
    update = _with_id(actions, "update", _update, "Change a key; what is not given stays, but rates are given as a whole")
    update.add_argument("--name", metavar="NAME", help="what people call it")
    add_switch(update, "refuse it")
    _add_fields(update)
    update.add_argument("--all-models", action="store_true", help="any model may be asked for")
    update.add_argument("--all-providers", action="store_true", help="any provider may answer")
    rotate = _with_id(actions, "rotate", _rotate, "Give a key a new secret and print it, once")
    rotate.add_argument(
        "--keep-old", metavar="S", type=whole(least=0), help="seconds that the old secret is still taken (default a day)"
    )
    _with_id(actions, "delete", _delete, "Remove a key")


def _add(actions: Actions, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, work, text)
    parser.add_argument("--operators", action="store_true", help="of the operators' own keys, which are no organisation's")
    return parser


def _with_id(actions: Actions, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    parser = _add(actions, name, work, text)
    parser.add_argument("id", metavar="ID", help="its id: the 12 characters after jk-")
    return parser


def _add_fields(parser: argparse.ArgumentParser) -> None:
    """Add what a key may be given at once or later; an empty workspace or member, or an end of never, takes it away."""
    parser.add_argument("--expires", metavar="DATE", type=_end, help=f"when it ends, a date or instant in UTC, or {NEVER}")
    parser.add_argument("--workspace", metavar="ID", help="the workspace whose limits it is under")
    parser.add_argument("--member", metavar="ID", help="the member to whom it belongs")
    parser.add_argument("--models", metavar="NAME,...", type=_names, help="the only models that may be asked for")
    parser.add_argument("--providers", metavar="SLUG,...", type=_names, help="the only providers that may answer")
    for name in RATES:
        text = f"the most {name.removesuffix('_per_min').replace('concurrency', 'requests')}"
        when = "in each minute" if name.endswith("_per_min") else "at one time"
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", type=whole(), help=f"{text} {when}")


def _end(text: str) -> int:
    return 0 if text == NEVER else instant(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _whose(client: "AdminClient", options: argparse.Namespace) -> str:
    """Return the organisation whose key is meant, empty for the caller's own or the operators'."""
    return "" if options.operators else organisation(client, options)


def _list(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = _whose(client, options)

    def fetch(token: str) -> "pb.ListApiKeysResponse":
        request = messages.ListApiKeysRequest(organisation=whose, page_size=1000, page_token=token)
        return client.call(client.account.ListApiKeys, request, options.timeout)

    found = [key for page in pages(fetch) for key in page.api_keys]
    show_list(options, "API keys", found, _row, "There are no API keys to show.")


def _row(key: "pb.ApiKey") -> tuple[str, ...]:
    return key.id, key.name, _scope(key), _state(key), key.member, key.workspace


def _show(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.GetApiKeyRequest(organisation=_whose(client, options), api_key=options.id)
    _tell_key(client.call(client.account.GetApiKey, request, options.timeout).api_key, options)


def _create(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.CreateApiKeyRequest(
        organisation="" if options.scope == "operator" else organisation(client, options),
        name=options.name,
        scope=messages.ApiKeyScope.Value(f"API_KEY_SCOPE_{options.scope.upper()}"),
        expires_at_ms=options.expires or None,
        workspace=options.workspace or "",
        member=options.member or "",
        allowed_models=_allowed(options.models),
        allowed_providers=_allowed(options.providers),
        rates=messages.Rates(**_given_rates(options)),
    )
    made = client.call(client.account.CreateApiKey, request, options.timeout)
    _tell_secret(made.api_key, made.secret, options)


def _update(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    rates = _given_rates(options)
    request = messages.UpdateApiKeyRequest(
        organisation=_whose(client, options),
        api_key=options.id,
        name=options.name,
        disabled=options.disabled,
        expires_at_ms=options.expires,
        workspace=options.workspace,
        member=options.member,
        allowed_models=_allowed(options.models),
        allowed_providers=_allowed(options.providers),
        rates=messages.Rates(**rates) if rates else None,
        allow_all_models=options.all_models,
        allow_all_providers=options.all_providers,
    )
    _tell_key(client.call(client.account.UpdateApiKey, request, options.timeout).api_key, options)


def _rotate(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.RotateApiKeyRequest(
        organisation=_whose(client, options), api_key=options.id, old_secret_for_s=options.keep_old
    )
    rotated = client.call(client.account.RotateApiKey, request, options.timeout)
    _tell_secret(rotated.api_key, rotated.secret, options)


def _delete(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.DeleteApiKeyRequest(organisation=_whose(client, options), api_key=options.id)
    client.call(client.account.DeleteApiKey, request, options.timeout)
    if options.json:
        show_json({"removed": options.id})
    else:
        tell(f"Removed {options.id}. Instances follow within a minute.")


def _allowed(names: list[str] | None) -> "pb.AllowList | None":
    from junctor.client.admin import messages

    return None if names is None else messages.AllowList(names=names)


def _given_rates(options: argparse.Namespace) -> dict[str, int]:
    return {name: getattr(options, name) for name in RATES if getattr(options, name) is not None}


def _tell_secret(key: "pb.ApiKey", secret: str, options: argparse.Namespace) -> None:
    if options.json:
        show_json({"api_key": plain(key), "secret": secret})
        return
    write(secret + "\n", sys.stdout)
    until = f" The old secret is taken until {at(key.old_secret_until_ms)}." if key.HasField("old_secret_until_ms") else ""
    tell(f"This is the key {key.id} ({_scope(key)}). It is shown once; keep it now.{until}")


def _tell_key(key: "pb.ApiKey", options: argparse.Namespace) -> None:
    if options.json:
        show_json(plain(key))
        return
    rows = [("id", key.id), ("scope", _scope(key)), ("made", at(key.created_at_ms)), ("state", _state(key))]
    rows += [(label, value) for label, value in (("workspace", key.workspace), ("member", key.member)) if value]
    if key.HasField("allowed_models"):
        rows.append(("models", ", ".join(key.allowed_models.names) or "none"))
    if key.HasField("allowed_providers"):
        rows.append(("providers", ", ".join(key.allowed_providers.names) or "none"))
    rows += [(field.name.replace("_", " "), str(value)) for field, value in key.rates.ListFields()]
    if key.HasField("old_secret_until_ms"):
        rows.append(("old secret", f"taken until {at(key.old_secret_until_ms)}"))
    show_table(key.name or key.id, rows)


def _scope(key: "pb.ApiKey") -> str:
    return str(plain(key)["scope"])


def _state(key: "pb.ApiKey") -> str:
    if key.disabled:
        return "disabled"
    return f"active until {at(key.expires_at_ms)}" if key.HasField("expires_at_ms") else "active"
