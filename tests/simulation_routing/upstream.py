"""A provider for every endpoint, in virtual time: answers, fails, waits and is silent as the weather says (ports/upstream)."""

import asyncio
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Final

from junctor.domain.completion import (
    Choice,
    ChoiceEnd,
    Completion,
    CompletionSpec,
    Delta,
    FinishReason,
    Message,
    Role,
    StreamEnd,
    TextPart,
    Usage,
)
from junctor.domain.routing import Candidate, Failure, FailureKind, Timers
from junctor.ports.upstream import Batch
from tests.simulation_routing.traces import TOKENS_IN
from tests.simulation_routing.weather import Fate, Weather

LUCK: Final[ContextVar[int]] = ContextVar("luck")
"""The luck of the request that is under way."""

_USAGE: Final = Usage(input_tokens=TOKENS_IN, output_tokens=200)
_CHOICES: Final = (Choice(0, Message(Role.ASSISTANT, (TextPart("Yes."),)), FinishReason.STOP, "stop"),)
_FIRST: Final[Batch] = (Delta(content="Yes"),)
_ENDS: Final = (ChoiceEnd(0, FinishReason.STOP, "stop"),)
_KINDS: Final = {
    "refused": (FailureKind.CONNECT, None),
    "reset": (FailureKind.RESET, None),
    "503": (FailureKind.SERVER, 503),
    "429": (FailureKind.THROTTLED, 429),
}
_SILENT: Final = "silent"
_TIMEOUT: Final = Failure(kind=FailureKind.TIMEOUT)
_DEADLINE: Final = Failure(kind=FailureKind.DEADLINE)


class SimulatedUpstream:
    """All providers of one world. As over HTTP, a whole answer's first byte comes when the answer is whole."""

    def __init__(self, weather: Weather) -> None:
        self._sites = weather.sites
        self._loop = asyncio.get_running_loop()

    async def complete(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> Completion | Failure:
        """Ask for a whole answer."""
        fate = self._fate(candidate)
        if fate.failure is not None:
            return await _failed(fate, timers.total_s, _DEADLINE)
        if fate.whole_s > timers.total_s:
            return await _late(timers.total_s, _DEADLINE)
        await asyncio.sleep(fate.whole_s)
        return Completion(choices=_CHOICES, usage=_USAGE, time_to_first_token_s=fate.whole_s)

    async def stream(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> AsyncGenerator[Batch, None]:
        """Ask for an answer step by step: here its first words, and then the rest."""
        fate = self._fate(candidate)
        bound_s, late = (
            (timers.total_s, _DEADLINE) if timers.total_s <= timers.first_token_s else (timers.first_token_s, _TIMEOUT)
        )
        if fate.failure is not None:
            yield (await _failed(fate, bound_s, late),)
        elif fate.first_s > bound_s:
            yield (await _late(bound_s, late),)
        else:
            await asyncio.sleep(fate.first_s)
            yield _FIRST
            await asyncio.sleep(fate.whole_s - fate.first_s)
            usage = Usage(input_tokens=TOKENS_IN, output_tokens=fate.tokens)
            yield (StreamEnd(choices=_ENDS, usage=usage),)

    def _fate(self, candidate: Candidate) -> Fate:
        return self._sites[candidate.endpoint.provider].fate(LUCK.get(), self._loop.time())


async def _failed(fate: Fate, bound_s: float, late: Failure) -> Failure:
    if fate.failure is None or fate.failure == _SILENT:
        return await _late(bound_s, late)
    if fate.first_s > bound_s:
        return await _late(bound_s, late)
    await asyncio.sleep(fate.first_s)
    kind, status = _KINDS[fate.failure]
    return Failure(kind=kind, http_status=status, retry_after_s=fate.retry_after_s)


async def _late(bound_s: float, late: Failure) -> Failure:
    await asyncio.sleep(bound_s)
    return late
