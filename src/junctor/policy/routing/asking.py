"""What does a call ask of an endpoint? Read off its spec once, in the words of the catalogue.

Two counts of its input are made, and neither is exact. `input_tokens` is what is expected, for prices and order. `input_least`
is for refusing: an endpoint is left out only where even eight bytes to a token do not fit, as no tokenizer packs text so tight
for long. What lies between goes to the back, so a caller is not told that nothing fits because of a guess of ours.
"""

from typing import Final

from msgspec import Struct

from junctor.domain.completion import CompletionSpec, Reasoning, TextFormat, TextPart
from junctor.policy import counting

BYTES_PER_TOKEN_MOST: Final = 8
_NO_PARAMETERS: Final = frozenset({"model", "models", "messages", "modalities", "audio", "session_id", "preset", "extra"})
"""Fields of a spec that every endpoint is sent, or none, or that are judged by themselves."""
_NOTHING: Final[frozenset[str]] = frozenset()
_TEXT: Final = frozenset({"text"})
"""What an answer is where nothing else is asked for: an endpoint that makes vectors gives none."""
_MODALITIES: Final = {"ImagePart": "image", "AudioPart": "audio", "FilePart": "file", "VideoPart": "video"}


class Asked(Struct, frozen=True, kw_only=True):
    """What a call asks. Tokens of output are those of one answer, `answers` how many there are to be.

    `wished`: parameters without which an answer is another one, though it could be given. `media`: what is sent besides text.
    """

    input_tokens: int
    input_least: int
    output_tokens: int
    max_tokens: int
    answers: int
    media: frozenset[str]
    outputs: frozenset[str]
    images: int
    wished: frozenset[str]


def asked_of(spec: CompletionSpec) -> Asked:
    """Return what a spec asks."""
    media: list[str] = []
    for message in spec.messages:
        for part in message.parts:
            kind = type(part)
            if kind is not TextPart:
                media.append(_MODALITIES[kind.__name__])
    size, longest = counting.input_bytes(spec), spec.max_tokens
    return Asked(
        input_tokens=counting.tokens(size),
        input_least=size // BYTES_PER_TOKEN_MOST,
        output_tokens=longest if longest is not None and longest < counting.OUTPUT_TOKENS else counting.OUTPUT_TOKENS,
        max_tokens=longest or 0,
        answers=spec.n or 1,
        media=frozenset(media) if media else _NOTHING,
        outputs=frozenset(spec.modalities) if spec.modalities else _TEXT,
        images=media.count("image") if media else 0,
        wished=_wished(spec) if spec.tools or spec.response_format or spec.reasoning else _NOTHING,
    )


def parameters(spec: CompletionSpec) -> frozenset[str]:
    """Name the parameters that are set, as endpoints name those that they know."""
    values = ((name, getattr(spec, name)) for name in CompletionSpec.__struct_fields__ if name not in _NO_PARAMETERS)
    return frozenset(name for name, value in values if _is_set(value))


def _wished(spec: CompletionSpec) -> frozenset[str]:
    names = ("tools", "response_format", "reasoning")
    return frozenset([name for name in names if _is_set(getattr(spec, name))])


def _is_set(value: object) -> bool:
    if isinstance(value, Reasoning):
        return value.effort is not None or value.max_tokens is not None
    return value is not None and value != () and not isinstance(value, TextFormat)
