"""The commands that work from a server's own settings: up, serve, init, audit.

Everything wrong with the settings is told at once, before anything starts. What a command does is imported when it does it.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from junctor.cli.admin import Actions
from junctor.settings import DEFAULT_TARGET, Command, Settings, SettingsError, list_settings

if TYPE_CHECKING:
    from junctor.cli.console import Console


def add_up(commands: Actions) -> None:
    """Add `junctor up`."""
    up = commands.add_parser(
        "up",
        description="Start a router on this machine, with a small model and an embedded store. Ctrl-C stops it.",
        epilog="Example: junctor up --listen 127.0.0.1:0 --no-local-model. JUNCTOR_* variables: see junctor serve --help",
    )
    up.add_argument(
        "--listen", metavar="HOST:PORT", help=f"where to listen; port 0 takes a free one (default {DEFAULT_TARGET})"
    )
    up.add_argument("--data-dir", metavar="FOLDER", help="folder of the store and the local secrets")
    up.add_argument("--no-local-model", action="store_true", help="do not fetch or start the small local model")
    up.set_defaults(run=_up)


def add_serve(commands: Actions) -> None:
    """Add `junctor serve`."""
    rows = list_settings()
    width = max(len(row.variable) for row in rows)
    table = "\n".join(
        f"  {row.variable:<{width}}  {row.meaning}{f' (default {row.default})' if row.default else ''}" for row in rows
    )
    serve = commands.add_parser(
        "serve",
        description="Run as a server. Everything is set by environment variables; SIGTERM drains and ends it.",
        epilog=f"Settings:\n{table}\n\nExample: JUNCTOR_LISTEN=0.0.0.0:50051 JUNCTOR_PEPPER=1:... junctor serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(run=_serve)


def add_init(commands: Actions) -> None:
    """Add `junctor init`."""
    init = commands.add_parser(
        "init",
        description="Make an operator key in the store of the settings, and show it once. Tables must be there, except in an "
        "embedded or local store, where they are made. Whoever has the key manages every organisation.",
        epilog="Settings are those of junctor serve. Example: JUNCTOR_PEPPER=1:... junctor init",
    )
    init.set_defaults(run=_init)


def add_audit(commands: Actions) -> None:
    """Add `junctor audit`."""
    audit = commands.add_parser(
        "audit",
        description="Replay the journal of one organisation or all and check every invariant that items can show. Read-only; "
        "a server may go on running. Exit code: 0 right, 1 differences, 2 something could not be read or judged.",
        epilog="Example: JUNCTOR_STORE=dynamodb junctor audit --json",
    )
    audit.add_argument("account", metavar="ACCOUNT", nargs="?", help="the organisation's id (default all)")
    audit.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    audit.set_defaults(run=_audit)


def settings_of(environ: Mapping[str, str], command: Command) -> Settings | None:
    """Return the settings, or None after telling everything that is wrong with them."""
    try:
        return Settings.from_environment(environ, command)
    except SettingsError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return None


def _up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    chosen = {
        "JUNCTOR_LISTEN": options.listen,
        "JUNCTOR_DATA_DIR": options.data_dir,
        "JUNCTOR_LOCAL_MODEL": "off" if options.no_local_model else None,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = settings_of({**environ, **given}, Command.UP)
    if settings is None:
        return 2
    from junctor.bootstrap import quick

    with quick.start():
        from junctor.bootstrap.up import run_up

        return _run(run_up, settings)


def _serve(_: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = settings_of(environ, Command.SERVE)
    if settings is None:
        return 2
    if settings.processes > 1:
        from junctor.bootstrap.supervisor import run_supervisor

        return run_supervisor(settings)
    from junctor.bootstrap import quick

    with quick.start():
        from junctor.bootstrap.serve import run_serve

        return run_serve(settings)


def _init(_: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = settings_of(environ, Command.SERVE)
    if settings is None:
        return 2
    from junctor.bootstrap.init import run_init

    return _run(run_init, settings)


def _run(work: "Callable[[Settings, Console], int]", settings: Settings) -> int:
    """Do what speaks on standard output, and say on standard error what keeps it from starting."""
    from junctor.bootstrap.problems import Problem
    from junctor.cli.console import Console

    try:
        return work(settings, Console())
    except Problem as problem:
        Console(sys.stderr).problem(str(problem))
        return 1


def _audit(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = settings_of(environ, Command.UP)
    if settings is None:
        return 2
    from junctor.cli.audit import run_audit_command

    return run_audit_command(settings, options.account, as_json=options.json)
