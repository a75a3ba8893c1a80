"""Our own count of tokens, where a provider reports none. It is an estimate and always marked as one.

Four bytes of UTF-8 to a token, as plain English text has them; the median of recorded requests at OpenAI is 0.13 tokens for
each byte of request JSON. Media that are sent whole are counted by their size, pictures and addresses not at all.
"""

from junctor.domain.completion import (
    AudioPart,
    Completion,
    CompletionSpec,
    Delta,
    FilePart,
    Message,
    Part,
    Speech,
    TextPart,
    Usage,
)

BYTES_PER_TOKEN = 4
BYTES_PER_FILE_TOKEN = 56
"""Of documents that are no plain text: a recorded PDF of 13,264 bytes had 235 tokens with the question about it."""
BYTES_PER_AUDIO_TOKEN = 800
"""Of compressed sound: 64 kbit a second, and ten tokens a second as OpenAI counts."""
BYTES_PER_WAVE_TOKEN = 4_800
"""Of sound that is not compressed: 24,000 samples of two bytes a second."""
BYTES_PER_SPOKEN_TOKEN = 2_400
"""Of sound that a model makes, which is not compressed in streams: OpenAI counts twenty tokens a second of it."""
OUTPUT_TOKENS = 1_024
"""Output that is expected where the caller sets no bound."""
_WAVES = {"wav", "pcm16"}


def tokens(byte_count: int) -> int:
    """Estimate the tokens of so many bytes of text, rounded up."""
    return -(-byte_count // BYTES_PER_TOKEN)


def input_bytes(spec: CompletionSpec) -> int:
    """Count the bytes of all text that a model reads: messages, tool calls and tools; media count nothing."""
    size = sum(map(_message_bytes, spec.messages))
    for tool in spec.tools:
        size += _length(tool.name) + _length(tool.description) + _length(tool.parameters)
    return size


def delta_bytes(delta: Delta) -> int:
    """Count the bytes of output that a delta holds, reasoning and tool calls included."""
    size = _length(delta.content)
    if delta.reasoning or delta.refusal:
        size += _length(delta.reasoning) + _length(delta.refusal)
    for call in delta.tool_calls:
        size += _length(call.name) + _length(call.arguments)
    return size if delta.speech is None else size + _speech_bytes(delta.speech)


def completion_bytes(completion: Completion) -> int:
    """Count the bytes of output that an answer holds, as delta_bytes does."""
    return sum(_message_bytes(choice.message) for choice in completion.choices)


def expected_tokens(spec: CompletionSpec) -> int:
    """Return how many tokens a request is expected to have, before it is made: for rates, never for money."""
    return tokens(input_bytes(spec)) + (OUTPUT_TOKENS if spec.max_tokens is None else spec.max_tokens)


def estimate(spec: CompletionSpec, output_byte_count: int) -> Usage:
    """Return the usage of a request whose provider reported none; of a spoken answer, all is taken for sound."""
    parts = [part for message in spec.messages for part in message.parts if not isinstance(part, TextPart)]
    heard, made = sum(map(_audio_tokens, parts)), tokens(output_byte_count)
    return Usage(
        input_tokens=tokens(input_bytes(spec)) + heard + sum(map(_file_tokens, parts)),
        output_tokens=made,
        estimated=True,
        audio_input_tokens=heard,
        audio_output_tokens=made if "audio" in spec.modalities else 0,
    )


def _audio_tokens(part: Part) -> int:
    """Estimate the tokens of a recording."""
    if not isinstance(part, AudioPart):
        return 0
    return -(-_decoded(part.data) // (BYTES_PER_WAVE_TOKEN if part.format in _WAVES else BYTES_PER_AUDIO_TOKEN))


def _file_tokens(part: Part) -> int:
    """Estimate the tokens of a document whose content is sent."""
    if not isinstance(part, FilePart) or not (part.file_data or "").startswith("data:"):
        return 0
    kind, _, content = (part.file_data or "").partition(",")
    return -(-_decoded(content) // (BYTES_PER_TOKEN if kind.startswith("data:text/") else BYTES_PER_FILE_TOKEN))


def _speech_bytes(speech: Speech) -> int:
    """Count what is said aloud as the text that has so many tokens: its words, and what their sound adds to them."""
    return _length(speech.transcript) + BYTES_PER_TOKEN * -(-_decoded(speech.data or "") // BYTES_PER_SPOKEN_TOKEN)


def _decoded(base64: str) -> int:
    """Return about how many bytes are written so."""
    return len(base64) * 3 // 4


def _message_bytes(message: Message) -> int:
    size = 0
    if message.reasoning or message.refusal:
        size = _length(message.reasoning) + _length(message.refusal)
    for part in message.parts:
        if isinstance(part, TextPart):
            size += _length(part.text)
    for call in message.tool_calls:
        size += _length(call.name) + _length(call.arguments)
    return size if message.speech is None else size + _speech_bytes(message.speech)


def _length(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())
