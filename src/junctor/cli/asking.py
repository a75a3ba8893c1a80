"""How a question is put to a running router, and its answer shown as it comes; the same for one question and a conversation.

The answer goes to standard output and nothing else does. Invariant: however the wait for it ends, the call has ended too.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, TypeAlias

from msgspec import Struct

from junctor.cli.access import TlsFiles, WrongUseError
from junctor.cli.chat_report import ChatResult, read_complete, read_stream_end
from junctor.cli.terminal import dimmed, is_lively, is_text, shown, write
from junctor.client import Client

Turn: TypeAlias = Mapping[str, object]
"""What one side said: its `role` and `content`."""


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
    interactive: bool
    tls: TlsFiles = TlsFiles()


def piped(stdin: TextIO) -> str:
    """Return the prompt that is piped in. Raises WrongUseError if it is no text."""
    wrong = WrongUseError("The prompt on standard input is not valid UTF-8.")
    try:
        text = stdin.read()
    except UnicodeDecodeError:
        raise wrong from None
    if not is_text(text):
        raise wrong
    return text


def ask(client: Client, turns: Sequence[Turn], options: ChatOptions) -> ChatResult:
    """Ask, show what comes unless it is for `--json`, and return the whole result. Raises JunctorRpcError."""
    if options.streamed:
        return _streamed(client, turns, options)
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


def _streamed(client: Client, turns: Sequence[Turn], options: ChatOptions) -> ChatResult:
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
            # First, as Ctrl-C may come while it is written.
            self._last = content[-1]
            write(shown(content, sys.stdout), sys.stdout)
        return self

    def end(self) -> None:
        """Finish the last line."""
        if self._thinking:
            write("\n", sys.stderr)
        if self._last and self._last != "\n":
            write("\n", sys.stdout)
