"""The command `junctor`: which commands there are; each one's own module has its options and does the work.

`junctor --help` shall be quick: only the module of the command that is given is imported, and what it needs to run only when
it runs. Exit codes: 0 well, 1 it failed, 2 wrongly used or wrongly set, 130 interrupted.

Invariant: what is typed and is no text reaches no command, other than as the name of a file.
"""

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from junctor.cli.terminal import is_text, write

_UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What the system says of an output that takes no more."""


class Command(NamedTuple):
    """A command: the module and function of this package that add its options and what it runs, and what it is for."""

    module: str
    add: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "up": Command("starting", "add_up", "start a router on this machine, with a small model and an embedded store"),
    "serve": Command("starting", "add_serve", "run as a server, set by environment variables only"),
    "chat": Command("chat", "add_chat", "talk with a model through a running router, or ask it one question"),
    "models": Command("models", "add_models", "list the models that can be reached, and what to set to reach more"),
    "endpoints": Command("models", "add_models", "list a model's endpoints: price, limits, health, and what reaches them"),
    "providers": Command("models", "add_models", "list the providers, and what opens them"),
    "explain": Command("explain", "add_explain", "show where a request would go, and why not elsewhere"),
    "usage": Command("usage", "add_usage", "show what was generated, and what it cost"),
    "orgs": Command("orgs", "add_orgs", "manage organisations, their members and workspaces"),
    "keys": Command("keys", "add_keys", "manage API keys"),
    "credits": Command("credits", "add_credits", "show and add credits"),
    "limits": Command("limits", "add_limits", "bound what may be spent"),
    "catalog": Command("catalog", "add_catalog", "catalogue files: what is in force, what differs, and another one instead"),
    "audit": Command("starting", "add_audit", "check the books of one organisation or all, and change nothing"),
    "init": Command("starting", "add_init", "make the first operator key of a deployment"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; argparse itself exits on `--help` and on wrong use."""
    _ready_streams()
    # grpc's core writes lines of its own to standard error: among a log's JSON, one for each stranger who speaks no TLS.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options = _options(sys.argv[1:] if argv is None else argv)
    if not all(map(is_text, _texts(options))):
        write("This cannot be sent: it is not valid UTF-8.\n", sys.stderr)
        return 2
    try:
        if options.command is not None:
            run: Callable[[argparse.Namespace, Mapping[str, str]], int] = options.run
            return run(options, os.environ)
        _parser("").print_help(sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; nothing can be told to him, nor at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _UNWRITTEN or error.filename is not None:
            raise
        write(f"Not all could be written: {os.strerror(error.errno or 0).lower()}.\n", sys.stderr)
        return 1
    return 2


def _ready_streams() -> None:
    """See to it that standard output and error are there and take any character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            from pathlib import Path

            # It was closed: the next connection would get its number, and be written to.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A narrow terminal encoding costs a character, not the answer.
            stream.reconfigure(errors="replace")


def _options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse exits where it is wrong."""
    parser = _parser(next((word for word in words if not word.startswith("-")), ""))
    options, unknown = parser.parse_known_args(words)
    if unknown:
        command = " ".join(filter(None, ("junctor", options.command, "--help")))
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; see {command}")
    return options


def _texts(options: argparse.Namespace) -> Iterator[str]:
    """Yield all that was typed for options, but names of files, which may be any bytes."""
    for given in vars(options).values():
        if isinstance(given, str):
            yield given
        elif isinstance(given, list):
            yield from (each for each in given if isinstance(each, str))


class _ShowVersion(argparse.Action):
    """Prints the version, found only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"junctor {version('junctor')}")
        parser.exit()


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Return what reads the command line: with the options of the chosen command, else with what each is for."""
    parser = argparse.ArgumentParser(
        prog="junctor",
        description="Your organisation's own LLM router: one gRPC API over every model.",
        epilog='Example: junctor up, and in another terminal: junctor chat "Good morning"',
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    command = COMMANDS.get(chosen)
    if command is None:
        for name, each in COMMANDS.items():
            commands.add_parser(name, help=each.help)
    else:
        getattr(import_module(f"junctor.cli.{command.module}"), command.add)(commands)
    return parser
