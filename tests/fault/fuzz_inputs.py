"""Does anything make what reads other people's bytes fail? `poe fuzz`: a million inputs, in process, without a network.

Six readers: requests (every message of every service, and RouterService's codec behind it), what manages a deployment (every
method of the other services, from its door to an embedded store: fuzz_control), server-sent events, whole answers and streams
of the OpenAI chat dialect with the codec that writes them out, refusals with their headers. What a reader refuses goes on into
the table of statuses, which is the seventh. Each input must come to what its reader promises, and nothing else: no exception
but a JunctorError of a caller's mistake, no status that says UNKNOWN or INTERNAL, no number that money could not be computed
from. An input follows from the seed and its index, and what the store holds then from those before it since the last pool.
"""

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, lru_cache
from random import Random
from typing import cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from msgspec import Struct

from junctor.adapters.providers import refusals
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.adapters.providers.refusals import MESSAGE_CHARS_MAX
from junctor.adapters.providers.sse import SseParser
from junctor.domain.account import Caller
from junctor.domain.call import Answer, Finished, Opened, Receipt, Route
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import Completion, Delta, StreamEnd, Usage
from junctor.domain.errors import InternalError, InvalidFieldError, JunctorError
from junctor.domain.routing import Candidate, Failure
from junctor.doors.codec import answers
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.codec.parsing import parse
from junctor.doors.rpc.details import STATUS_BYTES_MAX, rich_status
from junctor.doors.rpc.router import RouterRpc, Terms, _asked
from junctor.policy import fallback, pricing
from junctor.policy.pricing import Terms as PricingTerms
from junctor.usecases.services import Services
from junctor.v1 import router_service_pb2
from tests.fault.fuzz_cases import METHODS, PLAUSIBLE, valid
from tests.fault.fuzz_control import answered
from tests.support.control_town import ControlTown
from tests.support.fuzz_bytes import MUTATIONS, noise
from tests.support.fuzz_messages import TEXTS, FuzzMessages
from tests.support.recorded_chat import exchanges
from tests.support.sample_errors import EVERY
from tests.support.scopes import SERVICES

INPUTS = 1_000_000
POOL, POOL_LASTS = 30, 20_000
"""How many valid requests are at hand to be broken, and for how many inputs, as is what is managed."""
REQUEST_BYTES, BODY_BYTES = 8 << 10, 6 << 10
HEX_SHOWN = 2000

_ENDPOINT = Endpoint(id="p/m", model="m", provider="p", upstream_model="m", dialect="openai_chat", base_url="")
_PRICE = PriceCard(version="1", parts=PriceParts(input=10**9, output=10**9, cache_read=10**8), source="test", as_of="")
_CANDIDATE = Candidate(_ENDPOINT, None, _PRICE)
_ROUTE = Route(requested_model="m", served=_CANDIDATE, attempts=())
_RECEIPT = Receipt("gen-1", cost_nanousd=0)
_DIALECT = OpenAIChat()
_HEADERS = (
    "retry-after",
    "retry-after-ms",
    "date",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset",
)
_MOMENTS = (
    *("0", "1", "-1", "1e9", "nan", "inf", "9" * 15, "9" * 400, "1.5", "1m2.3s", "20ms", "99999999999999d", "\x00", "²"),
    *(
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Thu, 01 Jan 0000 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -9999",
        "Mon, 1 Jan 1 0:0:0 +9999",
    ),
    *("2026-11-22T05:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1700000000", "1700000000000"),
)
_STATUSES = (*range(0, 1000, 7), *(400, 401, 402, 403, 404, 413, 422, 429, 500, 503) * 20, 10**20, -1)
_TOKENS = (
    *(
        b"null",
        b"true",
        b"-1",
        b"0",
        b"1e999",
        b"-1e-999",
        b"NaN",
        b"1" * 40,
        b"1" * 5000,
        b"1e300",
        b"{}",
        b"[]",
        b'""',
        b'"error"',
    ),
    *(
        b'"\\ud800"',
        b'"\xff"',
        b'"\\u0000"',
        b"[" * 990 + b"]" * 990,
        b"[" * 2000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"[{}]",
        b"[null]",
    ),
    *(
        b'{"message":[{"msg":1}]}',
        b'{"code":429}',
        b'{"code":1e3,"message":{}}',
        b'"[DONE]"',
        b"[DONE]",
        b'{"text":"x","type":"text"}',
    ),
)

Reader = Callable[[Random, "Pool"], str]


class Pool(Struct):
    """What is broken: requests, by what their message is, recorded answers and streams, and requests about this town."""

    town: ControlTown
    requests: tuple[tuple[type[Message], bytes], ...]
    bodies: tuple[bytes, ...]
    streams: tuple[bytes, ...]


class Report(Struct):
    """What came of it: how often a reader came to what, and where it came to something else."""

    inputs: int
    took_s: float
    endings: Counter[tuple[str, str]]
    violations: list[str]

    def lines(self) -> Iterator[str]:
        """Write it for people."""
        yield f"inputs      {self.inputs} in {self.took_s:.1f} s"
        for (reader, ending), number in sorted(self.endings.items()):
            yield f"{reader:<10}  {ending:<44} {number:>9}"
        yield f"violations  {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations[:20])


def fuzz(inputs: int, seed: int) -> Report:
    """Make the inputs, one after the other, and have each read."""
    report = Report(0, 0.0, Counter(), [])
    started_s = time.monotonic()
    for first in range(0, inputs, POOL_LASTS):
        with closing(ControlTown(seed << 40 | first)) as town:
            pool = Pool(town, _requests(seed, first), *_recorded())
            for index in range(first, min(first + POOL_LASTS, inputs)):
                _read(report, pool, seed, index)
    report.took_s = time.monotonic() - started_s
    return report


def _read(report: Report, pool: Pool, seed: int, index: int) -> None:
    """Make an input, have it read, and note what came of it."""
    name, reader = READERS[index % len(READERS)]
    try:
        report.endings[name, reader(Random(seed << 40 | index), pool)] += 1
    except Exception as error:  # noqa: BLE001 - whatever escapes a reader is a finding
        report.violations.append(f"{name}, seed {seed}, input {index}: {type(error).__name__}: {str(error)[:HEX_SHOWN]}")
    report.inputs += 1


@lru_cache(2)
def _requests(seed: int, index: int) -> tuple[tuple[type[Message], bytes], ...]:
    """Make the requests of which the inputs from an index on are made."""
    rng = Random(f"{seed}/{index}")
    sound = [valid(rng, method) for method in METHODS for _ in range(POOL)]
    bodies: list[tuple[type[Message], bytes]] = [(type(request), request.SerializeToString()) for request in sound]
    bodies += [(type(request), FuzzMessages(rng, PLAUSIBLE).mutated(request)[1]) for request in sound]
    asked = router_service_pb2.ExplainRequest
    bodies += [(asked, asked(spec=request.spec).SerializeToString()) for request in sound[:POOL]]
    kept = [(kind, body) for kind, body in bodies if len(body) < REQUEST_BYTES]
    return (*kept, *((kind, b"") for kind in _kinds()))


@cache
def _recorded() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    bodies = [exchange.body.encode() for exchange in exchanges() if len(exchange.body) < BODY_BYTES]
    return tuple(body for body in bodies if body.startswith(b"{")), tuple(body for body in bodies if not body.startswith(b"{"))


@cache
def _kinds() -> tuple[type[Message], ...]:
    """Return the request of every method of every service."""
    return tuple(GetMessageClass(method.input_type) for service in SERVICES.values() for method in service.methods)


# The readers: each makes one input, has it read, and names what came of it


def _request(rng: Random, pool: Pool) -> str:
    kind, body = rng.choice(pool.requests)
    body = _broken(rng, body) if body and rng.random() < 0.8 else noise(rng)[1]
    rpc = RouterRpc(cast("Services", None), Terms())
    try:
        request = parse(kind, body)
        if isinstance(request, router_service_pb2.CompleteRequest | router_service_pb2.StreamRequest):
            rpc._call(request, Caller("account", "key"), 0.0, streamed=False)
        elif isinstance(request, router_service_pb2.ExplainRequest):
            checks = Checks(Limits())
            _asked(request, checks)
            checks.done()
    except InvalidFieldError as error:
        _told(error)
        return "refused"
    return "taken"


def _control(rng: Random, pool: Pool) -> str:
    return answered(rng, pool.town)


def _events(rng: Random, pool: Pool) -> str:
    data = _broken(rng, rng.choice(pool.streams))
    limits = {"line_bytes_max": rng.choice((200, 1 << 20, 1 << 20)), "event_bytes_max": rng.choice((200, 4 << 20, 4 << 20))}
    whole, cut = SseParser(**limits), SseParser(**limits)
    expected = whole.feed(data)
    found = [event for piece in _pieces(rng, data) for event in cut.feed(piece)]
    assert all(len(event) <= limits["event_bytes_max"] for event in found), data.hex()
    if whole.overrun is None and cut.overrun is None:
        assert (found, cut.close()) == (expected, whole.close()), data.hex()
        return "read"
    # A line that is too long may be noticed before it has ended.
    assert found == expected[: len(found)] or expected == found[: len(expected)], data.hex()
    return "overrun"


def _answer(rng: Random, pool: Pool) -> str:
    body = _broken_json(rng, rng.choice(pool.bodies))
    answer = _DIALECT.decode(body)
    if isinstance(answer, Failure):
        return _failed(answer, body)
    assert isinstance(answer, Completion), body.hex()
    usage = _sound(answer.usage, body)
    answers.complete_response(
        Answer(choices=answer.choices, usage=usage, receipt=_RECEIPT, route=_ROUTE, time_to_first_token_ms=0, latency_ms=0)
    ).SerializeToString()
    return "answer"


def _stream(rng: Random, pool: Pool) -> str:
    data = _broken_json(rng, rng.choice(pool.streams))
    decoder = _DIALECT.decoder()
    parts = [part for piece in _pieces(rng, data) for part in decoder.feed(piece)]
    if not parts or isinstance(parts[-1], Delta):
        parts.append(decoder.end())
    *deltas, end = parts
    assert all(isinstance(part, Delta) for part in deltas), data.hex()
    assert decoder.feed(data) == (), data.hex()
    said = tuple(part for part in deltas if isinstance(part, Delta))
    answers.stream_response((Opened("gen-1", _CANDIDATE), *said)).SerializeToString()
    if isinstance(end, Failure):
        assert end.committed == bool(deltas) or not deltas, data.hex()
        return _failed(end, data)
    assert isinstance(end, StreamEnd), data.hex()
    usage = _sound(end.usage, data)
    done = Finished(choices=end.choices, usage=usage, receipt=_RECEIPT, route=_ROUTE, time_to_first_token_ms=0, latency_ms=0)
    answers.stream_response((done,)).SerializeToString()
    return "stream"


def _refusal(rng: Random, pool: Pool) -> str:
    body = _broken_json(
        rng, rng.choice((*pool.bodies[:5], b'{"error":{"message":"x","code":1,"type":"y"}}', b'{"detail":[{"msg":"x"}]}'))
    )
    headers = {
        name: rng.choice(_MOMENTS) if rng.random() < 0.9 else noise(rng)[1].decode("latin-1")
        for name in rng.sample(_HEADERS, 3)
    }
    return _failed(refusals.refusal(rng.choice(_STATUSES), headers, body), body)


def _status(rng: Random, _: Pool) -> str:
    kind = rng.choice(list(EVERY))
    times, count = rng.choice(((1, 2000), (40, 20), (3000, 1)))
    return _told(EVERY[kind](rng.choice(TEXTS) * times, count))


READERS: tuple[tuple[str, Reader], ...] = (
    ("request", _request),
    ("control", _control),
    ("events", _events),
    ("answer", _answer),
    ("stream", _stream),
    ("refusal", _refusal),
    ("status", _status),
)


# What readers promise


def _told(error: JunctorError) -> str:
    """Check an error as it is told to a caller."""
    written = rich_status(error)
    name = str(code_pb2.Code.Name(written.code))
    assert name not in {"OK", "UNKNOWN"}, repr(error)
    assert (name == "INTERNAL") == isinstance(error, InternalError), repr(error)
    assert written.ByteSize() <= STATUS_BYTES_MAX, repr(error)
    return name


def _failed(failure: Failure, data: bytes) -> str:
    """Check a failure, and what a caller is told of it if it is the last."""
    assert isinstance(failure, Failure), data.hex()
    assert len(failure.message) <= MESSAGE_CHARS_MAX, data.hex()
    assert failure.message.isprintable(), data.hex()
    assert failure.retry_after_s is None or (math.isfinite(failure.retry_after_s) and failure.retry_after_s >= 0), data.hex()
    json.dumps([failure.message, failure.code]).encode()
    return f"{failure.kind.value}: {_told(fallback.final_error([failure], ()))}"


def _sound(usage: Usage | None, data: bytes) -> Usage:
    """Check that a usage can be charged."""
    usage = usage or Usage()
    assert 0 <= usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens, data.hex()
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens, data.hex()
    assert pricing.charge(_PRICE, usage, PricingTerms(0, None, 0)) >= 0, data.hex()
    return usage


# How inputs are broken


def _broken(rng: Random, data: bytes) -> bytes:
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        data = rng.choice(MUTATIONS)(rng, data)
    return data


def _broken_json(rng: Random, data: bytes) -> bytes:
    """Put other values in the place of some, as a rule, or break the bytes."""
    if rng.random() < 0.3:
        return _broken(rng, data)
    for _ in range(rng.randint(1, 3)):
        colon = data.find(b":", rng.randrange(len(data) + 1)) + 1
        end = min((place for mark in b",}]" if (place := data.find(mark, colon)) >= 0), default=len(data))
        if rng.random() < 0.8:
            data = data[:colon] + rng.choice(_TOKENS) + data[end:]
        else:
            other = data.find(b":", rng.randrange(len(data) + 1)) + 1
            data = data[:colon] + data[other : other + rng.randrange(60)] + data[end:]
    return data


def _pieces(rng: Random, data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + rng.choice((1, 7, 100, 1000, len(data)))
        yield data[start:end]
        start = end


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="poe fuzz", description="Have broken inputs read, in process.")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fixes every input (default: %(default)s)")
    options = parser.parse_args()
    report = fuzz(options.inputs, options.seed)
    print(*report.lines(), sep="\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
