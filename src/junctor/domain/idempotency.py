"""What is kept of a request that its caller named, so that sending it again cannot bill it again."""

from msgspec import Struct


class RequestRecord(Struct, frozen=True, kw_only=True):
    """The generation that answers a request id at present.

    `digest` is SHA-256 over the request id, `request_hash` over the encoded call; `attempt` counts the generations from 1.
    """

    account: str
    digest: bytes
    request_hash: bytes
    generation: str
    attempt: int = 1
