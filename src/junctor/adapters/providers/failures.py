"""What does a broken exchange mean for routing? The transport's errors as the failures of routing.md.

Statuses are not read here: what an answer says is its dialect's matter. No text of the network's comes through.
"""

from junctor.adapters.net.errors import (
    BadProtocolError,
    ConnectionLostError,
    NeverSentError,
    TimedOutError,
    TooLargeError,
    TransportError,
)
from junctor.domain.routing import Failure, FailureKind

_KINDS: dict[type[TransportError], FailureKind] = {
    NeverSentError: FailureKind.CONNECT,
    ConnectionLostError: FailureKind.RESET,
    TooLargeError: FailureKind.MALFORMED,
    BadProtocolError: FailureKind.MALFORMED,
}


def classify(error: TransportError, timed_out: FailureKind, *, committed: bool = False) -> Failure:
    """Return the failure that an error of the transport is; `timed_out` is what the bound that was set stands for."""
    kind = timed_out if isinstance(error, TimedOutError) else _KINDS[type(error)]
    return Failure(kind=kind, message=str(error), committed=committed)
