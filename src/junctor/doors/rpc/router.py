"""RouterService, proto in and proto out: the same for every protocol that carries protos.

A method authenticates before it parses, parses, checks, calls its use case, and writes the answer. What it raises is always a
JunctorError: a bug becomes an InternalError with an incident id, and its text stays in the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import NoReturn

from msgspec import Struct

from junctor.domain.account import Caller, KeyScope
from junctor.domain.call import Call
from junctor.domain.errors import DeadlineError, InternalError, JunctorError, NotBuiltError
from junctor.domain.routing import RoutingPreferences
from junctor.doors.codec import answers, completion, unbuilt
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.codec.parsing import parse
from junctor.doors.rpc.heartbeats import Heartbeats
from junctor.usecases import complete, stream
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.v1 import router_service_pb2 as pb

RESERVE_S, RESERVE_SHARE = 0.25, 0.2
"""What is kept back of a caller's deadline for settling and answering: seconds, and at most this share of it."""

Send = Callable[[pb.StreamResponse], Awaitable[None]]


class Terms(Struct, frozen=True, kw_only=True):
    """What bounds every call. Times in seconds."""

    limits: Limits = Limits()
    deadline_default_s: float = 600.0
    deadline_max_s: float = 900.0
    heartbeat_s: float = 15.0


class RouterRpc:
    """The methods of RouterService.

    `body` is the request's bytes; `timeout_s` is what the caller grants, None if he says nothing.
    """

    def __init__(self, services: Services, terms: Terms) -> None:
        self._services = services
        self._terms = terms
        self._idle = asyncio.Event()
        self.under_way = 0

    async def complete(self, body: bytes, api_key: str | None, timeout_s: float | None) -> pb.CompleteResponse:
        """Answer a Complete. Raises JunctorError."""
        async with self._guard("Complete") as trail:
            deadline_at = self._deadline_at(timeout_s)
            caller = await self._admit(api_key, deadline_at, trail)
            request = parse(pb.CompleteRequest, body)
            call = self._call(request, caller, deadline_at, streamed=False)
            return answers.complete_response(await complete.complete(self._services, call, trail))

    async def stream(self, body: bytes, api_key: str | None, timeout_s: float | None, send: Send) -> None:
        """Answer a Stream through `send`, which is never called twice at once. Raises JunctorError."""
        async with self._guard("Stream") as trail:
            deadline_at = self._deadline_at(timeout_s)
            caller = await self._admit(api_key, deadline_at, trail)
            request = parse(pb.StreamRequest, body)
            call = self._call(request, caller, deadline_at, streamed=True)
            async with (
                Heartbeats(send, self._terms.heartbeat_s) as line,
                aclosing(stream.stream(self._services, call, trail)) as batches,
            ):
                async for events in batches:
                    await line.send(answers.stream_response(events))

    async def unbuilt(self, method: str, _body: bytes, api_key: str | None, timeout_s: float | None) -> NoReturn:
        """Refuse a method that this version does not answer. Raises JunctorError."""
        async with self._guard(method) as trail:
            deadline_at = self._deadline_at(timeout_s)
            await self._admit(api_key, deadline_at, trail)
            raise NotBuiltError(f"{method} is not answered by this version.", method=method)

    async def idle(self) -> None:
        """Wait until no call is under way."""
        self._idle.clear()
        if self.under_way:
            await self._idle.wait()

    @asynccontextmanager
    async def _guard(self, method: str) -> AsyncGenerator[Trail, None]:
        trail = Trail(self._services, method)
        self.under_way += 1
        try:
            yield trail
        except JunctorError as error:
            trail.close(error.reason)
            raise
        except asyncio.CancelledError:
            trail.close("CANCELLED")
            raise
        except Exception as error:  # noqa: BLE001 - the last net: a bug is told to the log, and to the caller by its incident
            incident = trail.incident(error)
            trail.close(InternalError.reason)
            raise InternalError(incident) from None
        else:
            trail.close("OK")
        finally:
            self.under_way -= 1
            if self.under_way == 0:
                self._idle.set()

    async def _admit(self, api_key: str | None, deadline_at: float, trail: Trail) -> Caller:
        try:
            async with asyncio.timeout_at(deadline_at):
                trail.caller = await self._services.admission.admit(api_key, KeyScope.COMPLETION)
        except TimeoutError:
            raise DeadlineError("admission") from None
        return trail.caller

    def _deadline_at(self, timeout_s: float | None) -> float:
        granted_s = min(self._terms.deadline_default_s if timeout_s is None else timeout_s, self._terms.deadline_max_s)
        if granted_s <= 0:
            raise DeadlineError("receipt")
        return asyncio.get_running_loop().time() + granted_s - min(RESERVE_S, RESERVE_SHARE * granted_s)

    def _call(
        self, request: pb.CompleteRequest | pb.StreamRequest, caller: Caller, deadline_at: float, *, streamed: bool
    ) -> Call:
        checks = Checks(self._terms.limits)
        unbuilt.refuse(request, checks)
        spec = completion.spec(request.spec, checks, "spec")
        checks.done()
        return Call(caller=caller, spec=spec, preferences=RoutingPreferences(), deadline_at=deadline_at, streamed=streamed)
