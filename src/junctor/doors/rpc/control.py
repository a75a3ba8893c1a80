"""A service of the control plane, proto in and proto out: the same for every protocol that carries protos, and every method.

A method has a row or is not served. A call is authenticated before its request is asked for, its key's scope must be in the
row, unknown fields are refused, and the row's code runs in what time the caller grants, less what his request took to come: one
that comes later is not begun. What is raised is always a JunctorError.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from google.protobuf.message import Message

from junctor.domain.errors import JunctorError, OutcomeUnknownError
from junctor.doors.codec.parsing import parse
from junctor.doors.rpc.gate import Read, Visit
from junctor.doors.rpc.guard import Guard, deadline, within
from junctor.doors.rpc.methods import Methods
from junctor.usecases.admit import Admission
from junctor.usecases.stored import RETRY_AFTER_S, told
from junctor.usecases.trail import Trail

DEADLINE_DEFAULT_S, DEADLINE_MAX_S = 60.0, 120.0
"""What a call gets whose caller grants nothing, and what it gets at most: ample for a few store calls, tried again."""

Answering: TypeAlias = Callable[[Read, str | None, float | None], Awaitable[Message]]
"""From what reads a request, the API key and the seconds that are left to the response. Raises JunctorError."""


class ControlRpc:
    """The methods of one service. `trails` begins the trail of a call by the name of its method."""

    def __init__(self, admission: Admission, methods: Methods, trails: Callable[[str], Trail]) -> None:
        self._admission = admission
        self._methods = methods
        self._guard = Guard(trails, unfinished)

    def calls(self) -> Mapping[str, Answering]:
        """Return what answers each method, by name."""
        return {name: partial(self.call, name) for name in self._methods}

    async def call(self, name: str, read: Read, api_key: str | None, timeout_s: float | None) -> Message:
        """Answer a call of a method that has a row. Raises JunctorError."""
        method = self._methods[name]
        async with self._guard.call(name) as trail:
            until = deadline(timeout_s, DEADLINE_DEFAULT_S, DEADLINE_MAX_S)
            actor = await within(until, "admission", self._admission.admit_actor(api_key, method.scopes))
            trail.caller = actor
            request = parse(method.request, await within(until, "receipt", read(actor.account)))
            return await within(until, "store", told(method.handle(actor, request)))


def unfinished(visit: Visit, _trail: Trail) -> JunctorError:
    """Tell of a call that was cut: before its request was there nothing was done, and afterwards nobody knows."""
    if visit.cut is None or not visit.begun:
        return visit.refusal()
    return OutcomeUnknownError(f"{visit.cut.value}; what was asked for may have been done.", RETRY_AFTER_S)
