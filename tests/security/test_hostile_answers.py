"""Answers that are small to send and dear to read: they are refused before they take memory, or the event loop's time."""

import asyncio
import json
from collections.abc import Mapping
from typing import Self, cast

import msgspec
import pytest

from junctor.adapters.net.face import Transport
from junctor.adapters.providers import refusals, registry
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat, mending
from junctor.adapters.providers.dialects.openai_chat.reading import PIECES_MAX
from junctor.adapters.providers.gateway import Gateway
from junctor.domain.completion import Completion, Delta
from junctor.domain.routing import Failure, FailureKind
from tests.support.gateway_rig import TIMERS, FixedSecrets, batches, failure_of
from tests.support.memory import swelling
from tests.support.scripted_upstream import PATIENCE_S, chat_body, chat_chunk

BOMB_BYTES = 12 << 20
MEMORY_MAX = 64 << 20


def deepest() -> int:
    """Return how deep lists may lie within each other for JSON to be decoded here."""
    low, high = 1, 1_000_000
    while low < high:
        middle = (low + high + 1) // 2
        try:
            msgspec.json.decode(b"[" * middle + b"]" * middle)
        except RecursionError:
            high = middle - 1
        else:
            low = middle
    return low


@pytest.mark.parametrize("place", [b'{"error":%b}', b'{"error":{"message":%b}}', b'{"choices":[{"error":%b}]}'])
def test_no_depth_is_a_bug(place: bytes) -> None:
    """Else an error that is nested just so deep is read, and cannot be written: the call ends as a bug of ours."""
    dialect, limit = OpenAIChat(), deepest()
    for depth in (*range(max(limit - 40, 1), limit + 3), 100_000):
        body = place % (b"[" * depth + b"]" * depth)
        assert isinstance(dialect.decode(body), Failure)
        assert isinstance(refusals.refusal(500, {}, body), Failure)
        assert isinstance(dialect.decoder().feed(b"data: " + body + b"\n\n")[-1], Failure)


def _is_not_unpacked(frame: tuple[bytes, bytes, bytes], *, logprobs: bool) -> None:
    """Decode so many pieces between a start and an end that unpacking them would show."""
    start, piece, end = frame
    body = start + piece * (BOMB_BYTES // len(piece)) + end
    with swelling() as grown:
        answer = OpenAIChat().decode(body, logprobs=logprobs)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.MALFORMED
    assert grown.bytes < MEMORY_MAX


@pytest.mark.parametrize(
    "frame",
    [
        (b'{"choices":[', b"{},", b"{}]}"),
        (b'{"choices":[{"message":{"tool_calls":[', b"{},", b"{}]}}]}"),
        (b'{"choices":[{"message":{"reasoning_details":[', b"0,", b"0]}}]}"),
        (b'{"choices":[{"message":{"annotations":[', b"0,", b"0]}}]}"),
        (b'{"error":[', b"[],", b"[]]}"),
    ],
)
def test_a_body_of_trifles_is_not_unpacked(frame: tuple[bytes, bytes, bytes]) -> None:
    """Else a few megabytes become gigabytes, and one provider takes all calls down with the process."""
    _is_not_unpacked(frame, logprobs=False)


def test_parts_within_parts_are_not_gone_through_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a few megabytes are read hundreds of times, and the event loop stands still for a second at each such event."""
    opened, open_one = [0], mending._open

    def counting(given: msgspec.Raw | bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
        opened[0] += len(given)
        return open_one(given, kind)

    monkeypatch.setattr(mending, "_open", counting)
    content = json.dumps("x" * 10_000)
    for _ in range(100):
        content = f'[{{"type":"thinking","thinking":{content}}}]'
    body = f'{{"id":1,"choices":[{{"delta":{{"content":{content}}}}}]}}'.encode()
    OpenAIChat().decode(body)
    assert 0 < opened[0] < 8 * len(body)


TOKEN = b'{"token":"","logprob":0}'
"""The smallest piece of what is told of a token."""


@pytest.mark.parametrize(
    "frame",
    [
        (b'{"choices":[', b"{},", b"{}]}"),
        (b'{"choices":[{"message":{"content":[', b"{},", b"{}]}}]}"),
        (b'{"choices":[{"message":{"content":[{"type":"thinking","thinking":[', b"{},", b"{}]}]}}]}"),
        (b'{"choices":[{"message":{"tool_calls":[{"function":[', b"0,", b"0]}]}}]}"),
        (b'{"choices":[', b'{"message":{"tool_calls":[' + b"{}," * 1000 + b"{}]}},", b'{"message":{"tool_calls":[{}]}}]}'),
        (b'{"choices":[{"message":{"content":[', b'{"type":"thinking","thinking":[' + b"{}," * 9999 + b"{}]},", b"{}]}}]}"),
        (b'{"choices":[{"message":{"executed_tools":[', b"0,", b"0]}}]}"),
        (b'{"choices":[{"message":{', b'"a":0,', b'"content":""}}]}'),
        (b'{"choices":[{"logprobs":{"content":[', b"{},", b"{}]}}]}"),
        (b'{"choices":[{"logprobs":{"content":[', b"0,", b"0]}}]}"),
        (b'{"choices":[{"logprobs":{"content":[{"token":"","logprob":0,"top_logprobs":[', b"0,", b"0]}]}}]}"),
        (b'{"choices":[{"error":{"message":[', b"0,", b"0]}}]}"),
    ],
)
def test_a_body_of_trifles_is_not_unpacked_either_where_much_was_asked_for(frame: tuple[bytes, bytes, bytes]) -> None:
    """Else a provider waits for a caller who asks for log probabilities, and sends him what it likes."""
    _is_not_unpacked(frame, logprobs=True)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("frame", [(b"[", b"]"), (b'[{"token":"","logprob":0,"top_logprobs":[', b"]}]")])
def test_tokens_without_end_are_read_where_they_were_asked_for(frame: tuple[bytes, bytes], *, asked: bool) -> None:
    """Else an answer swells to many times its length, though nobody asked for what it is full of."""
    start, end = frame
    pieces = 2_200_000  # commas enough to be dense
    tokens = start + b",".join([TOKEN] * (pieces // 2)) + end
    body = b'{"choices":[{"message":{"content":"x"},"logprobs":{"content":' + tokens + b"}}]}"
    with swelling() as grown:
        answer = OpenAIChat().decode(body, logprobs=asked)
    assert isinstance(answer, Completion)
    assert (answer.choices[0].logprobs is not None) is asked
    assert grown.bytes < (12 * len(body) if asked else MEMORY_MAX)


@pytest.mark.parametrize("where", ["tool_calls", "reasoning_details", "annotations", "executed_tools"])
def test_no_list_of_an_answer_is_read_piece_by_piece_whatever_its_length(where: str) -> None:
    """Else a megabyte of remarks that say nothing becomes a million objects, and the event loop stands still meanwhile."""
    pieces = ",".join(["{}"] * (PIECES_MAX + 1))
    whole = OpenAIChat().decode(f'{{"choices":[{{"message":{{"content":"x","{where}":[{pieces}]}}}}]}}'.encode())
    assert isinstance(whole, Failure)
    assert whole.kind is FailureKind.MALFORMED
    streamed = OpenAIChat().decoder().feed(f'data: {{"choices":[{{"delta":{{"{where}":[{pieces}]}}}}]}}\n\n'.encode())
    assert isinstance(streamed[-1], Failure)


def test_a_stream_begins_only_so_many_calls() -> None:
    """Else each call that begins is compared with all before it, and the event loop stands still for hours."""
    at_once = chat_chunk({"tool_calls": [{"id": f"x{number}"} for number in range(200_000)]})
    assert isinstance(OpenAIChat().decoder().feed(at_once)[-1], Failure)
    decoder = OpenAIChat().decoder()
    begun = [decoder.feed(chat_chunk({"tool_calls": [{"id": f"x{number}"}]}))[-1] for number in range(PIECES_MAX + 1)]
    assert isinstance(begun[-2], Delta)
    assert isinstance(begun[-1], Failure)
    assert begun[-1].committed


def test_a_long_answer_is_no_bomb() -> None:
    """Else whoever asks for much is told that it could not be read."""
    text = "One, two, three: " * 500_000
    answer = OpenAIChat().decode(chat_body({"content": text}))
    assert isinstance(answer, Completion)
    calls = [{"id": str(number), "function": {"name": "f", "arguments": "{}"}} for number in range(PIECES_MAX)]
    answer = OpenAIChat().decode(json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode())
    assert isinstance(answer, Completion)
    assert len(answer.choices[0].message.tool_calls) == PIECES_MAX
    answer = OpenAIChat().decode(chat_body({"content": "1,2;" * 2_100_000}))
    assert isinstance(answer, Completion)


def test_a_long_answer_with_all_its_log_probabilities_is_no_bomb() -> None:
    """Else whoever asks for the twenty likeliest tokens of each place loses every long answer, after it is paid for."""
    likely = {"token": " token", "logprob": -0.123456789, "bytes": list(b" token")}
    place = json.dumps({**likely, "top_logprobs": [likely] * 20}, separators=(",", ":")).encode()
    places = 16_384
    content = b",".join([place] * places)
    body = b'{"choices":[{"message":{"content":"x"},"logprobs":{"content":[' + content + b"]}}]}"
    with swelling() as grown:
        answer = OpenAIChat().decode(body, logprobs=True)
    assert isinstance(answer, Completion)
    told = answer.choices[0].logprobs
    assert told is not None
    assert [len(token.top) for token in told.content] == [20] * places
    assert grown.bytes < 6 * len(body)


class _Flood:
    """An answer of which there is always more to read, and nothing in it."""

    status = 200
    headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def read(self, _by: float) -> bytes:
        await asyncio.sleep(0)
        return b": nothing\n\n"


class _FloodTransport:
    """A transport whose every answer is such a one."""

    async def post(self, *_: object, **__: object) -> _Flood:
        return _Flood()


@pytest.mark.parametrize(("timer", "kind"), [("first_token_s", FailureKind.TIMEOUT), ("total_s", FailureKind.DEADLINE)])
async def test_time_passes_also_where_there_is_always_something_to_read(timer: str, kind: FailureKind) -> None:
    """Else a provider that never pauses is waited for without end, as no wait for it ever ends."""
    secrets = FixedSecrets({"KEY": "made-up"})
    gate = Gateway(registry.load(), {"openai_chat": OpenAIChat()}, cast("Transport", _FloodTransport()), secrets)
    async with asyncio.timeout(PATIENCE_S):
        taken = await batches(gate, "http://127.0.0.1:1/v1", msgspec.structs.replace(TIMERS, **{timer: 0.05}))
    assert failure_of(taken).kind is kind
