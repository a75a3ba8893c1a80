"""What a dialect is: a wire API that providers share, as pure translation. Dialects import no transport and no credentials.

A quirk is a provider's data-only deviation from its dialect (a field's other name, a parameter it refuses): a value in
providers.toml, never a branch on the provider's name.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from junctor.domain.catalog import Endpoint
from junctor.domain.completion import Completion, CompletionSpec, Delta, StreamEnd
from junctor.domain.routing import Failure


class Quirks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a provider deviates from its dialect. Every default is the dialect's own rule."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    seed_field: str = "seed"
    required_tool_choice: str = "required"
    asks_for_stream_usage: bool = True
    tool_call_ids: Literal["any", "nine_alphanumeric"] = "any"
    reasoning_request: Literal["reasoning_effort", "reasoning_object", "thinking_type"] = "reasoning_effort"
    reasoning_replay: Literal["none", "reasoning", "reasoning_content"] = "none"
    refused_parameters: tuple[str, ...] = ()


class Encoded(Struct, frozen=True):
    """A request ready for the transport. `path` is appended to the endpoint's base URL.

    `dropped` names the fields of CompletionSpec that the endpoint does not understand and that were left out.
    """

    path: str
    body: bytes
    dropped: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    """Decodes one streamed answer. Bytes may be cut anywhere."""

    def feed(self, data: bytes) -> tuple[Delta | StreamEnd | Failure, ...]:
        """Take the next bytes and return what they completed, empty if nothing. A StreamEnd or Failure ends it."""

    def end(self) -> StreamEnd | Failure:
        """Take the end of the body, where no StreamEnd or Failure came before, and judge whether the answer is whole."""


class Dialect(Protocol):
    """One wire API."""

    def encode(self, endpoint: Endpoint, spec: CompletionSpec, quirks: Quirks, *, stream: bool) -> Encoded:
        """Write the request body."""

    def decode(self, body: bytes, *, logprobs: bool = False) -> Completion | Failure:
        """Read a whole answer of status 200; `logprobs` says whether they were asked for, so that there may be very many."""

    def decoder(self) -> StreamDecoder:
        """Begin to read a streamed answer of status 200."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Read an answer of any other status. Header names are lower-case; the body may be cut, empty or not JSON."""
