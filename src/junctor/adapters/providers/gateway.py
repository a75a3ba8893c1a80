"""How is a provider asked? One candidate, once: row, dialect, secret, transport, dialect again.

Here the timers of an attempt are armed, because only here is known what the bytes meant: a comment that keeps a connection warm
is no progress. The gateway decides nothing about what is tried next. Whatever a provider does comes back as a Failure; an
exception that leaves this module is a bug of ours, or a row or dialect that start-up should have refused.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

import msgspec
from msgspec import Struct

from junctor.adapters.net.errors import TimedOutError, TransportError
from junctor.adapters.net.face import Response, Transport
from junctor.adapters.net.headers import Headers
from junctor.adapters.providers.auth import Authorization, authorize
from junctor.adapters.providers.dialect import Dialect, Encoded
from junctor.adapters.providers.failures import classify
from junctor.adapters.providers.registry import Registry
from junctor.domain.completion import Completion, CompletionSpec, Delta, StreamEnd
from junctor.domain.routing import Candidate, Failure, FailureKind, Timers
from junctor.ports.secrets import Secrets
from junctor.ports.upstream import Batch

_OK = 200

_REFUSAL_BYTES = 64 * 1024
"""How much of a refusal's body is read: its meaning stands at its beginning."""

_REFUSAL_S = 1.0
"""How long a refusal's body may take, in seconds: its status has said the most."""

_WHOLE_BYTES = 64 * 1024
"""How much of an answer that is no stream is kept in order to read an error in it."""

_THREAD_BYTES = 1024 * 1024
"""A whole answer above this length is decoded beside the event loop, which one full of log probabilities would hold up.

In a thread of its own, and one after another: Python would run only one of several at a time, and have the loop wait for each
of them; and names of hosts are looked up in the threads that all share.
"""

_Bound: TypeAlias = "tuple[float, FailureKind]"
"""An instant of the event loop's clock, and what its passing stands for."""


class _Exchange(Struct, frozen=True):
    """A request made ready, and what is needed to read its answer."""

    url: str
    headers: Headers
    encoded: Encoded
    dialect: Dialect
    authorization: Authorization

    def fail(self, failure: Failure) -> Failure:
        """Return the failure as it may leave."""
        return self.authorization.scrub(failure)

    async def refusal(self, response: Response, by: float) -> Failure:
        """Read an answer that is not OK to the failure that it is."""
        async with response:
            text = await response.head(_REFUSAL_BYTES, min(by, _now_s() + _REFUSAL_S))
        return self.fail(self.dialect.refusal(response.status, response.headers, text))


class Gateway:
    """All providers behind one face: ports/upstream."""

    def __init__(self, registry: Registry, dialects: Mapping[str, Dialect], transport: Transport, secrets: Secrets) -> None:
        """Refuse a registry that names a dialect which is not there. Raises RegistryError."""
        registry.check_dialects(dialects)
        self._registry = registry
        self._dialects = dialects
        self._transport = transport
        self._secrets = secrets
        self._reader = ThreadPoolExecutor(1, "answers")

    async def complete(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> Completion | Failure:
        """Ask for a whole answer."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        exchange = self._prepare(candidate, spec, stream=False)
        if isinstance(exchange, Failure):
            return exchange
        by, body = start_s + timers.total_s, exchange.encoded.body
        connect_by = start_s + timers.connect_s
        try:
            response = await self._transport.post(exchange.url, exchange.headers, body, connect_by=connect_by, answer_by=by)
            if response.status != _OK:
                return await exchange.refusal(response, by)
            first_s = loop.time() - start_s
            async with response:
                text = await response.whole(by)
        except TransportError as error:
            return classify(error, FailureKind.DEADLINE)
        decode, logprobs = exchange.dialect.decode, bool(spec.logprobs)
        if len(text) > _THREAD_BYTES:
            answer = await loop.run_in_executor(self._reader, partial(decode, text, logprobs=logprobs))
        else:
            answer = decode(text, logprobs=logprobs)
        if isinstance(answer, Failure):
            return exchange.fail(answer)
        return msgspec.structs.replace(answer, time_to_first_token_s=first_s, dropped=exchange.encoded.dropped)

    async def stream(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> AsyncGenerator[Batch, None]:
        """Ask for an answer step by step."""
        start_s = _now_s()
        exchange = self._prepare(candidate, spec, stream=True)
        if isinstance(exchange, Failure):
            yield (exchange,)
            return
        total: _Bound = (start_s + timers.total_s, FailureKind.DEADLINE)
        first = _sooner(start_s + timers.first_token_s, total)
        connect_by, body = start_s + timers.connect_s, exchange.encoded.body
        try:
            response = await self._transport.post(
                exchange.url, exchange.headers, body, connect_by=connect_by, answer_by=first[0]
            )
        except TransportError as error:
            yield (classify(error, first[1]),)
            return
        if response.status != _OK:
            yield (await exchange.refusal(response, first[0]),)
            return
        async with response:
            reading = _Reading(exchange, response, first, total, timers.idle_s)
            while not reading.ended:
                yield await reading.batch()

    def _prepare(self, candidate: Candidate, spec: CompletionSpec, *, stream: bool) -> _Exchange | Failure:
        """Write the request and fetch the secret."""
        endpoint = candidate.endpoint
        row = self._registry.row(endpoint.provider)
        authorization = authorize(row.auth, candidate.credential, self._secrets)
        if isinstance(authorization, Failure):
            return authorization
        dialect = self._dialects[endpoint.dialect]
        encoded = dialect.encode(endpoint, spec, row.quirks, stream=stream)
        headers = authorization.streamed if stream else authorization.whole
        return _Exchange(endpoint.base_url + encoded.path, headers, encoded, dialect, authorization)


class _Reading:
    """One streamed answer as it comes in."""

    def __init__(self, exchange: _Exchange, response: Response, first: _Bound, total: _Bound, idle_s: float) -> None:
        self._exchange = exchange
        self._response = response
        self._decoder = exchange.dialect.decoder()
        self._first = first
        self._total = total
        self._idle_s = idle_s
        self._committed = False
        self._beginning = b""
        self.ended = False

    async def batch(self) -> Batch:
        """Return what the next network read with a meaning held. The wait for it is not prolonged by reads without one.

        Time between two calls is the caller's own and counts for the whole answer only.
        """
        now_s = _now_s()
        by, timed_out = _sooner(now_s + self._idle_s, self._total) if self._committed else self._first
        while True:
            try:
                # Where there is always something to read, no wait for it ever ends.
                if now_s >= by:
                    raise TimedOutError("the answer did not end in time")
                data = await self._response.read(by)
            except TransportError as error:
                self.ended = True
                return (classify(error, timed_out, committed=self._committed),)
            if not data:
                return self._finish((self._end(),))
            if not self._committed and len(self._beginning) < _WHOLE_BYTES:
                self._beginning += data
            parts = self._decoder.feed(data)
            if parts:
                return self._finish(parts)
            now_s = _now_s()

    def _end(self) -> StreamEnd | Failure:
        """Judge an answer whose body ended.

        Some providers answer a request for a stream with one JSON object, an error as a rule, whatever content type they name.
        """
        if not self._committed and self._beginning.lstrip()[:1] in (b"{", b"["):
            answer = self._exchange.dialect.decode(self._beginning)
            if isinstance(answer, Failure):
                return answer
            return Failure(kind=FailureKind.MALFORMED, message="a whole answer came where a stream was asked for")
        return self._decoder.end()

    def _finish(self, parts: Batch) -> Batch:
        """Note what a batch means, and complete its last part with what the decoder cannot know."""
        self._committed = self._committed or isinstance(parts[0], Delta)
        last = parts[-1]
        if isinstance(last, Delta):
            return parts
        self.ended = True
        if isinstance(last, StreamEnd):
            self._response.release()
            return (*parts[:-1], msgspec.structs.replace(last, dropped=self._exchange.encoded.dropped))
        return (*parts[:-1], msgspec.structs.replace(self._exchange.fail(last), committed=self._committed))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _sooner(instant: float, total: _Bound) -> _Bound:
    """Return which comes first: a timer's end, or the end of all."""
    return total if total[0] <= instant else (instant, FailureKind.TIMEOUT)
