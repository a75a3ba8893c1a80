"""A provider, asked once. Whatever goes wrong there comes back as a Failure value, never as an exception."""

from collections.abc import AsyncGenerator
from typing import Protocol, TypeAlias

from junctor.domain.completion import Completion, CompletionSpec, Delta, StreamEnd
from junctor.domain.routing import Candidate, Failure, Timers

Batch: TypeAlias = "tuple[Delta | StreamEnd | Failure, ...]"
"""What one network read held: deltas, and at the very end of a stream its StreamEnd or its Failure. Never empty."""


class Upstream(Protocol):
    """All providers behind one face: it picks the dialect, signs, sends and decodes.

    Cancelling either method closes the connection to the provider at once.
    """

    async def complete(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> Completion | Failure:
        """Ask for a whole answer."""

    def stream(self, candidate: Candidate, spec: CompletionSpec, timers: Timers) -> AsyncGenerator[Batch, None]:
        """Ask for an answer step by step.

        Its last batch ends with a StreamEnd or a Failure, and nothing comes after that. Close the generator to abort.
        """
