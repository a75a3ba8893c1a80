"""RouterService, proto in and proto out: the same for every protocol that carries protos.

A method authenticates before it asks for the request, parses, checks, calls its use case, and writes the answer. What it raises
is always a JunctorError: a bug becomes an InternalError with an incident id, and its text stays in the log.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import NoReturn

from msgspec import Struct

from junctor.domain.account import Caller, KeyScope
from junctor.domain.call import Call
from junctor.domain.completion import CompletionSpec
from junctor.domain.errors import NotBuiltError
from junctor.domain.routing import RoutingPreferences
from junctor.doors.codec import answers, completion, preferences
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.codec.explain import explain_response
from junctor.doors.codec.parsing import parse
from junctor.doors.rpc.gate import Read
from junctor.doors.rpc.guard import Guard, deadline, within
from junctor.doors.rpc.heartbeats import Heartbeats
from junctor.usecases import complete, explain, stream
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.v1 import router_service_pb2 as pb

_NO_WISHES = RoutingPreferences()
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

Send = Callable[[pb.StreamResponse], Awaitable[None]]


class Terms(Struct, frozen=True, kw_only=True):
    """What bounds every call. Times in seconds."""

    limits: Limits = Limits()
    deadline_default_s: float = 600.0
    deadline_max_s: float = 900.0
    heartbeat_s: float = 15.0


class RouterRpc:
    """The methods of RouterService.

    `read` waits for the request's bytes; `timeout_s` is what the caller grants, None if he says nothing.
    """

    def __init__(self, services: Services, terms: Terms) -> None:
        self._services = services
        self._terms = terms
        self.guard = Guard(partial(Trail, services))
        self._deadline_at = partial(deadline, default_s=terms.deadline_default_s, most_s=terms.deadline_max_s)

    async def complete(self, read: Read, api_key: str | None, timeout_s: float | None) -> pb.CompleteResponse:
        """Answer a Complete. Raises JunctorError."""
        async with self.guard.call("Complete") as trail:
            deadline_at = self._deadline_at(timeout_s)
            caller = await self._admit(api_key, deadline_at, trail)
            request = parse(pb.CompleteRequest, await read(caller.account))
            call = self._call(request, caller, deadline_at, streamed=False)
            return answers.complete_response(await complete.complete(self._services, call, trail))

    async def stream(self, read: Read, api_key: str | None, timeout_s: float | None, send: Send) -> None:
        """Answer a Stream through `send`, which is never called twice at once. Raises JunctorError."""
        async with self.guard.call("Stream") as trail:
            deadline_at = self._deadline_at(timeout_s)
            caller = await self._admit(api_key, deadline_at, trail)
            request = parse(pb.StreamRequest, await read(caller.account))
            call = self._call(request, caller, deadline_at, streamed=True)
            async with (
                Heartbeats(send, self._terms.heartbeat_s) as line,
                aclosing(stream.stream(self._services, call, trail)) as batches,
            ):
                async for events in batches:
                    await line.send(answers.stream_response(events))

    async def explain(self, read: Read, api_key: str | None, timeout_s: float | None) -> pb.ExplainResponse:
        """Answer an Explain. Raises JunctorError."""
        async with self.guard.call("Explain") as trail:
            deadline_at = self._deadline_at(timeout_s)
            caller = await self._admit(api_key, deadline_at, trail)
            request = parse(pb.ExplainRequest, await read(caller.account))
            checks = Checks(self._terms.limits)
            spec, wishes = _asked(request, checks)
            checks.done()
            call = Call(caller=caller, spec=spec, preferences=wishes, deadline_at=deadline_at)
            return explain_response(explain.explain(self._services, call, trail))

    async def unbuilt(self, method: str, _read: Read, api_key: str | None, timeout_s: float | None) -> NoReturn:
        """Refuse a method that this version does not answer. Raises JunctorError."""
        async with self.guard.call(method) as trail:
            deadline_at = self._deadline_at(timeout_s)
            await self._admit(api_key, deadline_at, trail)
            raise NotBuiltError(f"{method} is not answered by this version.", method=method)

    async def _admit(self, api_key: str | None, deadline_at: float, trail: Trail) -> Caller:
        admission = self._services.admission
        caller = admission.admit_known(api_key, KeyScope.COMPLETION)
        if caller is None:
            caller = await within(deadline_at, "admission", admission.admit(api_key, KeyScope.COMPLETION))
        trail.caller = caller
        return caller

    def _call(
        self, request: pb.CompleteRequest | pb.StreamRequest, caller: Caller, deadline_at: float, *, streamed: bool
    ) -> Call:
        checks = Checks(self._terms.limits)
        spec, wishes = _asked(request, checks)
        request_id = _request_id(request, checks)
        checks.done()
        return Call(
            caller=caller,
            spec=spec,
            preferences=wishes,
            deadline_at=deadline_at,
            streamed=streamed,
            request_id=request_id,
        )


def _asked(
    request: pb.CompleteRequest | pb.StreamRequest | pb.ExplainRequest, checks: Checks
) -> tuple[CompletionSpec, RoutingPreferences]:
    """Read what is asked, and how it may be routed; both count only if nothing is wrong."""
    spec = completion.spec(request.spec, checks, "spec")
    if not request.HasField("preferences"):
        return spec, _NO_WISHES
    return spec, preferences.preferences(request.preferences, checks, "preferences")


def _request_id(request: pb.CompleteRequest | pb.StreamRequest, checks: Checks) -> str | None:
    """Return what the caller named his request, always written alike; None if he did not."""
    if not request.HasField("request_id"):
        return None
    if not _UUID.fullmatch(request.request_id):
        checks.wrong("request_id", "must be a UUID, as 8-4-4-4-12 hexadecimal digits")
    return request.request_id.lower()
