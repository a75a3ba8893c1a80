"""`junctor chat`: one question to a running router and its answer, or a conversation where no question is given.

The answer goes to standard output and nothing else does; what is said about it goes to standard error. What is piped in is one
question, however many lines it has, unless a conversation is asked for: each line of one costs a call. Its options cost nothing
to import; the rest comes when it runs.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from junctor.cli.access import WrongUseError, add_options, find_target, given_tls, open_client
from junctor.cli.admin import Actions
from junctor.cli.numbers import whole
from junctor.cli.showing import show_json, tell
from junctor.cli.terminal import dimmed, shown, write

if TYPE_CHECKING:
    from junctor.cli.asking import ChatOptions, Turn

TIMEOUT_S = 600.0


def add_chat(commands: Actions) -> None:
    """Add the command and its options."""
    chat = commands.add_parser(
        "chat",
        description="Ask a model one question through a running router, and show its answer as it comes. At a terminal and "
        "without a question, talk with it: /help lists what can be typed, such as /model and /route.",
        epilog='Example: git diff | junctor chat --system "Review this." --max-tokens 400',
    )
    chat.add_argument("prompt", metavar="PROMPT", nargs="?", help="the question; - or what is piped in is one, too")
    chat.add_argument("--model", metavar="NAME", default="junctor/local", help="the model, author/name (default %(default)s)")
    add_options(chat, TIMEOUT_S)
    chat.add_argument("--system", metavar="TEXT", help="instructions that stand above the question")
    chat.add_argument("--max-tokens", metavar="N", type=whole(), help="the most tokens to produce")
    chat.add_argument("--temperature", metavar="X", type=_temperature, help="randomness, 0 to 2")
    chat.add_argument("--json", action="store_true", help="print the whole result as one JSON object and nothing else")
    chat.add_argument("--no-stream", action="store_true", help="wait for the whole answer")
    chat.add_argument("--interactive", action="store_true", help="talk, also where it is not a terminal: a line is a message")
    chat.set_defaults(run=_run)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from junctor.cli.asking import ChatOptions

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
        tls=given_tls(options),
    )
    return run_chat(chat, environ)


def run_chat(options: "ChatOptions", environ: Mapping[str, str]) -> int:
    """Ask, show, and return the exit code: 0 answered, 1 the call failed, 2 wrongly used, 130 interrupted."""
    from junctor.cli.asking import ask
    from junctor.cli.chat_report import explain, summary
    from junctor.cli.conversation import converse
    from junctor.client import JunctorRpcError

    target = find_target(options.target, environ)
    try:
        if options.interactive or (options.prompt is None and sys.stdin.isatty()):
            _check_conversation(options)
            with open_client(target, options.key_file, options.tls, environ) as client:
                return converse(client, options, target)
        turns = _turns(options)
        with open_client(target, options.key_file, options.tls, environ) as client:
            result = ask(client, turns, options)
    except JunctorRpcError as error:
        tell(*explain(error, target, options.timeout_s))
        return 1
    except WrongUseError as problem:
        tell(str(problem))
        return 2
    except KeyboardInterrupt:
        tell("", "Interrupted; the call was cancelled.")
        return 130
    if options.as_json:
        show_json(result)
    else:
        write(dimmed(shown(summary(result), sys.stderr), sys.stderr) + "\n", sys.stderr)
    return 0


def _check_conversation(options: "ChatOptions") -> None:
    if options.prompt is not None:
        raise WrongUseError("A conversation begins without a question: leave out either the question or --interactive.")
    if options.as_json:
        raise WrongUseError("A conversation has no JSON form: give one question with --json.")


def _turns(options: "ChatOptions") -> "list[Turn]":
    prompt = _prompt(options.prompt, sys.stdin)
    system: list[Turn] = [{"role": "system", "content": options.system}] if options.system else []
    return [*system, {"role": "user", "content": prompt}]


def _prompt(given: str | None, stdin: TextIO) -> str:
    from junctor.cli.asking import piped

    prompt = piped(stdin) if given is None or given == "-" else given
    if not prompt.strip():
        raise WrongUseError("The prompt is empty.")
    return prompt


def _temperature(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 2") from None
