"""How many tokens a request may turn out to have: bounds for which money is held, never estimates to show.

A byte of UTF-8 is at most one token in byte-level BPE, and in SentencePiece with byte fallback. So the bytes of all text that
is sent, as JSON, bound the tokens of that text; the JSON around a message or a tool is larger than what a chat template puts
there, and a fixed slack covers what providers add by themselves. A tokenizer that normalises text first (the first Claude
models did) can exceed it for rare ligatures.

It refuses to guess where it cannot know: sound and video count as a full context, and files as many times that, since their
pages are billed as images are. Tools that a provider brings itself, such as web search, are not foreseen: their words and
results are input that no request shows. The bound held for every recorded request without such tools.
"""

from typing import Final

import msgspec
from msgspec import Struct

from junctor.domain.catalog import Endpoint
from junctor.domain.completion import AudioPart, CompletionSpec, FilePart, ImagePart, Message, Part, TextPart
from junctor.policy.pricing import COUNT_MAX

DEFAULT_OUTPUT_HOLD_TOKENS: Final = 8_192
"""Output for which money is held where the caller sets no max_tokens."""
HIDDEN_TOKENS: Final = 1_024
"""What a provider may add to the input: of 1,646 recorded requests the worst has 990 more tokens than bytes (Cohere, tools)."""
IMAGE_TOKENS: Final = 2_833 + 8 * 5_667
"""The most that one image is known to count: gpt-4o-mini in high detail, which fits it into 2,048 x 768 pixels, 8 tiles of 512.

It stands for every endpoint and detail, as some ignore `detail`, and others count less: Qwen 16,384, OpenAI's patches 24,600.
Nearly all of it is a way of billing that takes no room in the context, and so it is added beyond the context's limit.
"""

PAGE_TIMES: Final = 34
"""How often a page's room in a context may be billed: gpt-4o-mini reads it as an image, and bills 33.3 times its tokens."""

_encode: Final = msgspec.json.Encoder().encode


class Size(Struct, frozen=True):
    """What bounds the input of a request: it is measured once, and bounded for each endpoint."""

    text_tokens: int
    images: int = 0
    has_files: bool = False
    has_audio: bool = False


def size(spec: CompletionSpec) -> Size:
    """Measure a request: all that a model may read but media, in whole structures, so that no field can be forgotten."""
    media, messages, images = _media(spec), spec.messages, 0
    if media:
        images = sum(isinstance(part, ImagePart) for part in media)
        if images < len(media):
            kinds = set(map(type, media))
            return Size(COUNT_MAX, images, FilePart in kinds, AudioPart in kinds)
        messages = tuple(map(_without_media, messages))
    read = (messages, spec.tools, spec.tool_choice, spec.response_format, spec.prediction, spec.extra)
    return Size(len(_encode(read)) + HIDDEN_TOKENS, images)


def input_bound(size: Size, context_tokens: int | None) -> int:
    """Return the most input tokens that an endpoint with such a context (None: not known) may bill."""
    tokens = size.text_tokens
    if context_tokens is not None and context_tokens < tokens:
        tokens = context_tokens
    if size.has_files:
        tokens *= PAGE_TIMES
    if size.images:
        tokens += size.images * IMAGE_TOKENS
    if tokens > COUNT_MAX:
        return COUNT_MAX
    return tokens


def output_bound(spec: CompletionSpec, endpoint: Endpoint, default_output_hold_tokens: int = DEFAULT_OUTPUT_HOLD_TOKENS) -> int:
    """Return the most output tokens of one answer for which money is held; reasoning is within max_tokens."""
    bound = default_output_hold_tokens if spec.max_tokens is None else spec.max_tokens
    return min(bound, longest(endpoint))


def longest(endpoint: Endpoint) -> int:
    """Return the most output tokens of one answer that an endpoint may give."""
    bound, limit, context = COUNT_MAX, endpoint.output_tokens_max, endpoint.context_tokens
    if limit is not None and limit < bound:
        bound = limit
    if context is not None and context < bound:
        bound = context
    return bound


def rejected_bound(spec: CompletionSpec) -> int:
    """Return the most tokens of a prediction that may be billed without being said: each once, beside the answer."""
    return 0 if spec.prediction is None else len(spec.prediction.encode())


def images(spec: CompletionSpec) -> int:
    """Count the images that are sent."""
    media = _media(spec)
    return sum(isinstance(part, ImagePart) for part in media) if media else 0


def has_audio(spec: CompletionSpec) -> bool:
    """Tell whether sound is sent."""
    return any(isinstance(part, AudioPart) for part in _media(spec))


def speaks(spec: CompletionSpec) -> bool:
    """Tell whether sound is asked for."""
    return "audio" in spec.modalities


def _media(spec: CompletionSpec) -> list[Part]:
    return [part for message in spec.messages for part in message.parts if not isinstance(part, TextPart)]


def _without_media(message: Message) -> Message:
    texts = tuple(part for part in message.parts if isinstance(part, TextPart))
    return msgspec.structs.replace(message, parts=texts)
