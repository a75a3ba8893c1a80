"""`junctor chat`: one question to a running router and its answer, or a conversation where no question is given.

The answer goes to standard output and nothing else does; what is said about it goes to standard error. What is piped in is one
question, however many lines it has, unless a conversation is asked for: each line of one costs a call.
"""

import sys
from collections.abc import Mapping
from typing import TextIO

from junctor.cli.access import WrongUseError, find_key, find_target
from junctor.cli.asking import ChatOptions, Turn, ask, is_text
from junctor.cli.chat_report import explain, summary
from junctor.cli.conversation import converse
from junctor.cli.showing import show_json, tell
from junctor.cli.terminal import dimmed, shown, write
from junctor.client import Client, JunctorRpcError


def run_chat(options: ChatOptions, environ: Mapping[str, str]) -> int:
    """Ask, show, and return the exit code: 0 answered, 1 the call failed, 2 wrongly used, 130 interrupted."""
    target = find_target(options.target, environ)
    try:
        if options.interactive or (options.prompt is None and sys.stdin.isatty()):
            _check_conversation(options)
            with Client(target, find_key(options.key_file, target, environ)) as client:
                return converse(client, options, target)
        turns = _turns(options)
        with Client(target, find_key(options.key_file, target, environ)) as client:
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


def _check_conversation(options: ChatOptions) -> None:
    if options.prompt is not None:
        raise WrongUseError("A conversation begins without a question: leave out either the question or --interactive.")
    if options.as_json:
        raise WrongUseError("A conversation has no JSON form: give one question with --json.")
    if not is_text(options.system or ""):
        raise WrongUseError("The instructions are not valid UTF-8.")


def _turns(options: ChatOptions) -> list[Turn]:
    prompt = _prompt(options.prompt, sys.stdin)
    system: list[Turn] = [{"role": "system", "content": options.system}] if options.system else []
    turns = [*system, {"role": "user", "content": prompt}]
    if any(not is_text(str(turn["content"])) for turn in turns):
        raise WrongUseError("The prompt is not valid UTF-8.")
    return turns


def _prompt(given: str | None, stdin: TextIO) -> str:
    if given is None or given == "-":
        try:
            given = stdin.read()
        except UnicodeDecodeError:
            raise WrongUseError("The prompt on standard input is not valid UTF-8.") from None
    if not given.strip():
        raise WrongUseError("The prompt is empty.")
    return given
