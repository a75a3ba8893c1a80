"""The command `junctor`: which command with which options; each command's own module does the work.

`junctor --help` shall be quick, so commands import what they need when they run. Exit codes: 0 well, 1 it failed, 2 wrongly
used or wrongly set, 130 interrupted.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from junctor.cli import access, admin
from junctor.cli.catalog import add_catalog, run_catalog
from junctor.cli.credits import add_credits
from junctor.cli.explain import add_explain, run_explain
from junctor.cli.keys import add_keys
from junctor.cli.limits import add_limits
from junctor.cli.models import add_models, run_models
from junctor.cli.orgs import add_orgs
from junctor.cli.usage import add_usage, run_usage
from junctor.settings import (
    DEFAULT_TARGET,
    Command,
    Settings,
    SettingsError,
    list_settings,
)

_INT32_MAX = 2**31 - 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; argparse itself exits on `--help` and on wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A narrow terminal encoding costs a character, not the answer.
            stream.reconfigure(errors="replace")
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        command = COMMANDS.get(options.command)
        if command is not None:
            return command(options)
        parser.print_help(sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; nothing can be told to him, nor at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 2


def _up(options: argparse.Namespace) -> int:
    environ = dict(os.environ)
    if options.listen is not None:
        environ["JUNCTOR_LISTEN"] = options.listen
    if options.data_dir is not None:
        environ["JUNCTOR_DATA_DIR"] = options.data_dir
    if options.no_local_model:
        environ["JUNCTOR_LOCAL_MODEL"] = "off"
    settings = _settings(environ, Command.UP)
    if settings is None:
        return 2
    from junctor.bootstrap.up import run_up
    from junctor.cli.console import Console

    return run_up(settings, Console())


def _serve(_: argparse.Namespace) -> int:
    settings = _settings(os.environ, Command.SERVE)
    if settings is None:
        return 2
    from junctor.bootstrap.serve import run_serve

    return run_serve(settings)


def _chat(options: argparse.Namespace) -> int:
    from junctor.cli.asking import ChatOptions
    from junctor.cli.chat import run_chat

    chat = ChatOptions(
        prompt=options.prompt,
        model=options.model,
        target=options.target,
        key_file=options.key_file,
        system=options.system,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        timeout_s=options.timeout,
        as_json=options.json,
        streamed=not options.no_stream,
        interactive=options.interactive,
    )
    return run_chat(chat, os.environ)


def _audit(options: argparse.Namespace) -> int:
    settings = _settings(os.environ, Command.UP)
    if settings is None:
        return 2
    from junctor.cli.audit import run_audit_command

    return run_audit_command(settings, options.account, as_json=options.json)


def _catalog(options: argparse.Namespace) -> int:
    settings = _settings(os.environ, Command.UP)
    if settings is None:
        return 2
    return run_catalog(options, settings)


def _init(_: argparse.Namespace) -> int:
    settings = _settings(os.environ, Command.SERVE)
    if settings is None:
        return 2
    from junctor.bootstrap.init import run_init
    from junctor.cli.console import Console

    return run_init(settings, Console())


def _settings(environ: Mapping[str, str], command: Command) -> Settings | None:
    """Return the settings, or None after telling everything that is wrong with them."""
    try:
        return Settings.from_environment(environ, command)
    except SettingsError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return None


class _ShowVersion(argparse.Action):
    """Prints the version, found only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"junctor {version('junctor')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="junctor",
        description="Your organisation's own LLM router: one gRPC API over every model.",
        epilog='Example: junctor up, and in another terminal: junctor chat "Good morning"',
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    _add_up(commands)
    _add_serve(commands)
    _add_chat(commands)
    add_models(commands)
    add_explain(commands)
    add_usage(commands)
    add_orgs(commands)
    add_keys(commands)
    add_credits(commands)
    add_limits(commands)
    add_catalog(commands)
    _add_audit(commands)
    commands.add_parser(
        "init",
        help="make the first operator key of a deployment",
        description="Make an operator key in the store of the settings, and show it once. Tables must be there, except in an "
        "embedded or local store, where they are made. Whoever has the key manages every organisation.",
        epilog="Settings are those of junctor serve. Example: JUNCTOR_PEPPER=1:... junctor init",
    )
    return parser


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = commands.add_parser(
        "up",
        help="start a router on this machine, with a small model and an embedded store",
        description="Start a router on this machine, with a small model and an embedded store. Ctrl-C stops it.",
        epilog="Example: junctor up --listen 127.0.0.1:0 --no-local-model. JUNCTOR_* variables: see junctor serve --help",
    )
    up.add_argument(
        "--listen", metavar="HOST:PORT", help=f"where to listen; port 0 takes a free one (default {DEFAULT_TARGET})"
    )
    up.add_argument("--data-dir", metavar="FOLDER", help="folder of the store and the local secrets")
    up.add_argument("--no-local-model", action="store_true", help="do not fetch or start the small local model")


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    rows = list_settings()
    width = max(len(row.variable) for row in rows)
    table = "\n".join(
        f"  {row.variable:<{width}}  {row.meaning}{f' (default {row.default})' if row.default else ''}" for row in rows
    )
    commands.add_parser(
        "serve",
        help="run as a server, set by environment variables only",
        description="Run as a server. Everything is set by environment variables; SIGTERM drains and ends it.",
        epilog=f"Settings:\n{table}\n\nExample: JUNCTOR_LISTEN=0.0.0.0:50051 JUNCTOR_PEPPER=1:... junctor serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_chat(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    chat = commands.add_parser(
        "chat",
        help="talk with a model through a running router, or ask it one question",
        description="Ask a model one question through a running router, and show its answer as it comes. At a terminal and "
        "without a question, talk with it: /help lists what can be typed, such as /model and /route.",
        epilog='Example: git diff | junctor chat --system "Review this." --max-tokens 400',
    )
    chat.add_argument("prompt", metavar="PROMPT", nargs="?", help="the question; - or what is piped in is one, too")
    chat.add_argument("--model", metavar="NAME", default="junctor/local", help="the model, author/name (default %(default)s)")
    access.add_options(chat, 600.0)
    chat.add_argument("--system", metavar="TEXT", help="instructions that stand above the question")
    chat.add_argument("--max-tokens", metavar="N", type=_whole, help="the most tokens to produce")
    chat.add_argument("--temperature", metavar="X", type=float, help="randomness, 0 to 2")
    chat.add_argument("--json", action="store_true", help="print the whole result as one JSON object and nothing else")
    chat.add_argument("--no-stream", action="store_true", help="wait for the whole answer")
    chat.add_argument("--interactive", action="store_true", help="talk, also where it is not a terminal: a line is a message")


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    audit = commands.add_parser(
        "audit",
        help="check the books of one organisation or all, and change nothing",
        description="Replay the journal of one organisation or all and check every invariant that items can show. Read-only; "
        "a server may go on running. Exit code: 0 right, 1 differences, 2 something could not be read or judged.",
        epilog="Example: JUNCTOR_STORE=dynamodb junctor audit --json",
    )
    audit.add_argument("account", metavar="ACCOUNT", nargs="?", help="the organisation's id (default all)")
    audit.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _whole(text: str) -> int:
    value = int(text)
    if not 1 <= value <= _INT32_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a number of tokens")
    return value


def _explain(options: argparse.Namespace) -> int:
    return run_explain(options, os.environ)


def _models(options: argparse.Namespace) -> int:
    return run_models(options, os.environ)


def _usage(options: argparse.Namespace) -> int:
    return run_usage(options, os.environ)


def _manage(options: argparse.Namespace) -> int:
    return admin.run(options, os.environ)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "serve": _serve,
    "chat": _chat,
    "models": _models,
    "endpoints": _models,
    "providers": _models,
    "explain": _explain,
    "usage": _usage,
    "orgs": _manage,
    "keys": _manage,
    "credits": _manage,
    "limits": _manage,
    "audit": _audit,
    "catalog": _catalog,
    "init": _init,
}
