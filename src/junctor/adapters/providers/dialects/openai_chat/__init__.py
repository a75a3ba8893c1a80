"""The chat-completions API of OpenAI, which most providers speak: one dialect, with their deviations as quirks and leniency.

What providers do differently in a request is a quirk, a value; what they do differently in an answer is simply understood,
whoever sends it: usage in any place, reasoning in any spelling, errors in any shape.
"""

from collections.abc import Mapping

from junctor.adapters.providers import refusals
from junctor.adapters.providers.dialects.openai_chat.decode import decode
from junctor.adapters.providers.dialects.openai_chat.encode import encode
from junctor.adapters.providers.dialects.openai_chat.stream import ChatStreamDecoder
from junctor.domain.routing import Failure


class OpenAIChat:
    """The dialect. It has no state: one instance serves all calls."""

    encode = staticmethod(encode)
    decode = staticmethod(decode)

    def decoder(self) -> ChatStreamDecoder:
        """Begin to read a streamed answer of status 200."""
        return ChatStreamDecoder()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Read an answer of any other status."""
        return refusals.refusal(status, headers, body)
