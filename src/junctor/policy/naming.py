"""By what a request that its caller named is known again, through whichever door it comes."""

import hashlib

import msgspec

from junctor.domain.completion import CompletionSpec
from junctor.domain.routing import RoutingPreferences

_ENCODER = msgspec.msgpack.Encoder(order="sorted")


def name_digest(request_id: str) -> bytes:
    """Return SHA-256 of a request's name, by which its record is found."""
    return hashlib.sha256(request_id.encode()).digest()


def request_hash(spec: CompletionSpec, preferences: RoutingPreferences) -> bytes:
    """Return SHA-256 over all that is asked and how it may be routed: the same for the same request, without credentials."""
    return hashlib.sha256(_ENCODER.encode((spec, preferences))).digest()
