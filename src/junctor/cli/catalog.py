"""`junctor catalog`: what a catalogue holds, how two differ, and putting another one in force.

That much is files only, and no router is asked; what an operator changes in a running catalogue is in catalog_changes.

With `--json` all of it is one object on standard output and nothing else. Exit code: 0 well, 1 a file is not fit for use.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from junctor.cli import admin
from junctor.cli.admin import Actions
from junctor.cli.catalog_changes import add_changes
from junctor.cli.showing import show_json, show_table
from junctor.cli.starting import settings_of
from junctor.cli.terminal import shown, write
from junctor.settings import Command, Settings

if TYPE_CHECKING:
    from junctor.adapters.catalog.snapshot import Snapshot
    from junctor.adapters.catalog.survey import Change
    from junctor.domain.catalog import Endpoint, PriceCard

SHOWN_MAX = 20
_MILLION = 1_000_000


def add_catalog(commands: Actions) -> None:
    """Add the command and its actions."""
    parser = commands.add_parser(
        "catalog",
        description="Look at catalogue files, compare them, and put another one in force for routers of this data folder.",
        epilog="Example: junctor catalog show --model openai/gpt-oss-120b",
    )
    parser.set_defaults(run=_run)
    actions = parser.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    show = _add(actions, "show", "Count what a catalogue holds, or list the endpoints of a model or provider")
    show.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a snapshot (default the one in force)")
    show.add_argument("--model", metavar="NAME", help="list the endpoints of this model, author/name or alias")
    show.add_argument("--provider", metavar="SLUG", help="list the endpoints of this provider")
    show.add_argument("--quarantined", action="store_true", help="list the prices that are not believed, and why")
    diff = _add(actions, "diff", "Say what is in one snapshot and not in the other, and what changed")
    diff.add_argument("old", metavar="OLD", type=Path, help="a snapshot")
    diff.add_argument("new", metavar="NEW", nargs="?", type=Path, help="another one (default the one in force)")
    taken = _add(actions, "import", "Check a snapshot and put it in force; running routers follow within seconds")
    source = taken.add_mutually_exclusive_group(required=True)
    source.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a snapshot")
    source.add_argument("--packaged", action="store_true", help="go back to the one that came with Junctor")
    add_changes(actions)


def _add(actions: Actions, name: str, description: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=description[0].lower() + description[1:], description=f"{description}.")
    action.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return action


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = settings_of(environ, Command.UP)
    return 2 if settings is None else run_catalog(options, settings)


def run_catalog(options: argparse.Namespace, settings: Settings) -> int:
    """Do what is asked and return the exit code."""
    from junctor.bootstrap.problems import Problem

    if "work" in options:
        return admin.run(options, os.environ)
    run = {"show": _show, "diff": _diff, "import": _import}[options.action]
    try:
        run(options, settings.data_dir)
    except Problem as problem:
        write(f"{shown(str(problem), sys.stderr)}\n", sys.stderr)
        return 1
    return 0


def _show(options: argparse.Namespace, data_dir: Path) -> None:
    from junctor.adapters.catalog.survey import counts
    from junctor.bootstrap.catalog import open_snapshot

    snapshot = open_snapshot(options.file, data_dir)
    if options.quarantined:
        _show_quarantined(options, snapshot)
    elif options.model is not None or options.provider is not None:
        _show_endpoints(options, snapshot)
    elif options.json:
        show_json({"version": snapshot.version, "built_at": snapshot.built_at, **counts(snapshot)})
    else:
        rows = [(name.replace("_", " "), f"{count:,}") for name, count in counts(snapshot).items()]
        show_table(f"Catalogue {snapshot.version}, built {snapshot.built_at[:10]}", rows)


def _show_quarantined(options: argparse.Namespace, snapshot: "Snapshot") -> None:
    chosen = {row.id for row in _chosen(options, snapshot)}
    rows = [row for row in snapshot.quarantined if row.endpoint in chosen]
    if options.json:
        show_json({"quarantined": rows})
    else:
        show_table(f"Prices that are not believed: {len(rows)}", [(row.endpoint, row.reason) for row in rows])


def _show_endpoints(options: argparse.Namespace, snapshot: "Snapshot") -> None:
    chosen = _chosen(options, snapshot)
    prices = {row.endpoint: row.cards for row in snapshot.prices}
    if options.json:
        show_json({"endpoints": [{"endpoint": row, "cards": prices.get(row.id, ())} for row in chosen]})
        return
    suspects = {row.endpoint for row in snapshot.quarantined}
    rows = [
        (
            row.id,
            _price(prices.get(row.id), is_suspect=row.id in suspects),
            f"{row.context_tokens:,} tokens" if row.context_tokens else "? tokens",
            row.dialect,
        )
        for row in chosen
    ]
    show_table(f"Endpoints, USD for a million tokens in and out: {len(rows)}", rows)


def _chosen(options: argparse.Namespace, snapshot: "Snapshot") -> Sequence["Endpoint"]:
    """Return the endpoints that were asked for. Raises Problem for a model or provider that the snapshot has not."""
    from junctor.bootstrap.problems import Problem

    named = {alias: model.slug for model in snapshot.models for alias in (model.slug, *model.aliases)}
    model = named.get(options.model)
    if options.model is not None and model is None:
        raise Problem(f"catalogue {snapshot.version} has no model {options.model!r}")
    if options.provider not in {None, *(provider.slug for provider in snapshot.providers)}:
        raise Problem(f"catalogue {snapshot.version} has no provider {options.provider!r}")
    return [row for row in snapshot.endpoints if model in {None, row.model} and options.provider in {None, row.provider}]


def _price(cards: "Sequence[PriceCard] | None", *, is_suspect: bool) -> str:
    if not cards:
        return "quarantined" if is_suspect else "unknown"
    parts = cards[0].parts
    return f"{(parts.input or 0) / _MILLION:g} / {(parts.output or 0) / _MILLION:g} of {cards[0].as_of}"


def _diff(options: argparse.Namespace, data_dir: Path) -> None:
    from junctor.adapters.catalog.survey import differences
    from junctor.bootstrap.catalog import open_snapshot

    old, new = open_snapshot(options.old, data_dir), open_snapshot(options.new, data_dir)
    found = differences(old, new)
    if options.json:
        show_json({"old": old.version, "new": new.version, **found})
        return
    for kind, change in found.items():
        show_table(kind.capitalize(), _change_rows(change))


def _change_rows(change: "Change") -> Sequence[Sequence[str]]:
    rows = []
    for word, names in (("added", change.added), ("removed", change.removed), ("changed", change.changed)):
        more = f", and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
        rows.append((word, f"{len(names)}: {', '.join(names[:SHOWN_MAX])}{more}" if names else "0"))
    return rows


def _import(options: argparse.Namespace, data_dir: Path) -> None:
    from junctor.bootstrap.catalog import forget_snapshot, import_snapshot, open_snapshot

    if options.packaged:
        changed = forget_snapshot(data_dir)
    else:
        import_snapshot(options.file, data_dir)
        changed = True
    version = open_snapshot(None, data_dir).version
    if options.json:
        show_json({"version": version, "changed": changed})
    else:
        write(f"Catalogue {version} is in force.\n", sys.stdout)
