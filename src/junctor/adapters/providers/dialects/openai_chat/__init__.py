"""The chat-completions API of OpenAI, which most providers speak: one dialect, with their deviations as quirks and leniency.

What providers do differently in a request is a quirk, a value; what they do differently in an answer is simply understood,
whoever sends it: usage in any place, reasoning in any spelling, errors in any shape.
"""

from collections.abc import Mapping

from junctor.adapters.providers import refusals
from junctor.adapters.providers.dialect import Encoded, Quirks
from junctor.adapters.providers.dialects.openai_chat.decode import decode
from junctor.adapters.providers.dialects.openai_chat.encode import encode
from junctor.adapters.providers.dialects.openai_chat.stream import ChatStreamDecoder
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import Completion, CompletionSpec
from junctor.domain.routing import Failure


class OpenAIChat:
    """The dialect. It has no state: one instance serves all calls."""

    def encode(self, endpoint: Endpoint, spec: CompletionSpec, quirks: Quirks, *, stream: bool) -> Encoded:
        """Write the request body."""
        return encode(endpoint, spec, quirks, stream=stream)

    def decode(self, body: bytes) -> Completion | Failure:
        """Read a whole answer of status 200."""
        return decode(body)

    def decoder(self) -> ChatStreamDecoder:
        """Begin to read a streamed answer of status 200."""
        return ChatStreamDecoder()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Read an answer of any other status."""
        return refusals.refusal(status, headers, body)
