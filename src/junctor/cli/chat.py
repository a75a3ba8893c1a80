"""`junctor chat`: one question to a running router, and its answer as it comes.

The answer goes to standard output and nothing else does; what is said about it goes to standard error. It keeps no
conversation. Invariant: however it ends, the call has ended too.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from junctor.cli.access import WrongUseError, find_key, find_target
from junctor.cli.chat_report import ChatResult, explain, read_complete, read_stream_end, summary
from junctor.cli.showing import show_json, tell
from junctor.cli.terminal import dimmed, is_lively, shown, write
from junctor.client import Client, JunctorRpcError


class ChatOptions(Struct, frozen=True, kw_only=True):
    """What the command line said; `prompt` None or `-` is standard input."""

    prompt: str | None
    model: str
    target: str | None
    key_file: Path | None
    system: str | None
    max_tokens: int | None
    temperature: float | None
    timeout_s: float
    as_json: bool
    streamed: bool


def run_chat(options: ChatOptions, environ: Mapping[str, str]) -> int:
    """Ask, show, and return the exit code: 0 answered, 1 the call failed, 2 wrongly used, 130 interrupted."""
    target = find_target(options.target, environ)
    try:
        turns = _turns(options)
        with Client(target, find_key(options.key_file, target, environ)) as client:
            result = _ask(client, turns, options)
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


def _turns(options: ChatOptions) -> list[Mapping[str, object]]:
    prompt = _prompt(options.prompt, sys.stdin)
    system: list[Mapping[str, object]] = [{"role": "system", "content": options.system}] if options.system else []
    turns = [*system, {"role": "user", "content": prompt}]
    if any(not _is_text(str(turn["content"])) for turn in turns):
        raise WrongUseError("The prompt is not valid UTF-8.")
    return turns


def _prompt(given: str | None, stdin: TextIO) -> str:
    if given is None and stdin.isatty():
        raise WrongUseError('Give a prompt, such as: junctor chat "What is a router?" (or pipe one in)')
    if given is None or given == "-":
        try:
            given = stdin.read()
        except UnicodeDecodeError:
            raise WrongUseError("The prompt on standard input is not valid UTF-8.") from None
    if not given.strip():
        raise WrongUseError("The prompt is empty.")
    return given


def _is_text(text: str) -> bool:
    # Bytes of the command line that are no UTF-8 come as halves of surrogate pairs.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _ask(client: Client, turns: list[Mapping[str, object]], options: ChatOptions) -> ChatResult:
    if options.streamed:
        return _ask_streamed(client, turns, options)
    answer = client.complete(
        turns,
        model=options.model,
        timeout_s=options.timeout_s,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
    )
    result = read_complete(answer)
    if not options.as_json:
        _Paper().write(result.reasoning, result.answer).end()
    return result


def _ask_streamed(client: Client, turns: list[Mapping[str, object]], options: ChatOptions) -> ChatResult:
    paper = None if options.as_json else _Paper()
    words: list[str] = []
    thoughts: list[str] = []
    generation_id = ""
    stream = client.stream(
        turns,
        model=options.model,
        timeout_s=options.timeout_s,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
    )
    with stream as events:
        try:
            for event in events:
                if event.HasField("opened"):
                    generation_id = event.opened.generation_id
                elif event.HasField("delta"):
                    word = event.delta.content or event.delta.refusal
                    words.append(word)
                    thoughts.append(event.delta.reasoning)
                    if paper is not None:
                        paper.write(event.delta.reasoning, word)
                elif event.HasField("finished"):
                    ending = event.finished
        finally:
            if paper is not None:
                paper.end()
    # The client raises unless the end was among the events.
    return read_stream_end(ending, generation_id, "".join(words), "".join(thoughts))


class _Paper:
    """Where an answer is written as it comes: reasoning dimmed on a terminal's standard error, and left out elsewhere."""

    def __init__(self) -> None:
        self._thinks = is_lively(sys.stderr)
        self._thinking = False
        self._last = ""

    def write(self, reasoning: str, content: str) -> "_Paper":
        """Write what came."""
        if reasoning and self._thinks:
            write(dimmed(shown(reasoning, sys.stderr), sys.stderr), sys.stderr)
            self._thinking = True
        if content:
            if self._thinking:
                write("\n\n", sys.stderr)
                self._thinking = False
            write(shown(content, sys.stdout), sys.stdout)
            self._last = content[-1]
        return self

    def end(self) -> None:
        """Finish the last line."""
        if self._thinking:
            write("\n", sys.stderr)
        if self._last and self._last != "\n":
            write("\n", sys.stdout)
