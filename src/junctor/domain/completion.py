"""What is asked of a model and what it answers.

The words follow the OpenAI chat schema where a noun means the same. JSON that is free in form (tool parameters, schemas, tool
arguments, extra) is text, carried verbatim: parsing it would reorder keys and lose large integers.
"""

from enum import Enum

from msgspec import Struct


class Role(Enum):
    """Who speaks in a message."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class CacheControl(Struct, frozen=True):
    """The end of a prefix that the provider should cache; `ttl` in the provider's words."""

    type: str
    ttl: str | None = None


class TextPart(Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str
    cache_control: CacheControl | None = None


class ImagePart(Struct, frozen=True, tag="image"):
    """A picture at an https address, or in a data: address."""

    url: str
    detail: str | None = None
    cache_control: CacheControl | None = None


class AudioPart(Struct, frozen=True, tag="audio"):
    """A recording; `data` is base64."""

    data: str
    format: str
    cache_control: CacheControl | None = None


class FilePart(Struct, frozen=True, tag="file"):
    """A document, by content or by the provider's id of it."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    cache_control: CacheControl | None = None


class VideoPart(Struct, frozen=True, tag="video"):
    """A video at an https address, or in a data: address."""

    url: str
    cache_control: CacheControl | None = None


Part = TextPart | ImagePart | AudioPart | FilePart | VideoPart


class ToolCall(Struct, frozen=True):
    """A call of a tool by the model; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class UrlCitation(Struct, frozen=True, tag="url_citation"):
    """A page that the characters from `start` until before `end` of the text rest on; `content` is what it says."""

    url: str
    title: str | None = None
    content: str | None = None
    start: int | None = None
    end: int | None = None


class OtherAnnotation(Struct, frozen=True, tag="other"):
    """A remark on the text that only its provider knows, as JSON text."""

    json: str


Annotation = UrlCitation | OtherAnnotation


class Speech(Struct, frozen=True):
    """What a model says aloud, or a piece of it: `data` is base64, and `transcript` the same in words.

    Its provider keeps it as `id` until `expires_at` (Unix seconds).
    """

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of the conversation. `reasoning_details` are JSON texts in the provider's own form."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_details: tuple[str, ...] = ()
    refusal: str | None = None
    annotations: tuple[Annotation, ...] = ()
    speech: Speech | None = None


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON schema as text."""

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class ToolMode(Enum):
    """Whether the model must call a tool."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"
    FUNCTION = "function"


class ToolChoice(Struct, frozen=True):
    """Whether and what the model must call; `function_name` with FUNCTION only."""

    mode: ToolMode
    function_name: str | None = None


class TextFormat(Struct, frozen=True, tag="text"):
    """Any text."""


class JsonObjectFormat(Struct, frozen=True, tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Struct, frozen=True, tag="json_schema"):
    """JSON that follows a schema; `schema` is JSON text."""

    name: str
    description: str | None = None
    schema: str | None = None
    strict: bool | None = None


class GrammarFormat(Struct, frozen=True, tag="grammar"):
    """Text that a grammar accepts, in the endpoint's own grammar language."""

    grammar: str


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | GrammarFormat


class Reasoning(Struct, frozen=True):
    """How much to think. `exclude` leaves the thoughts out of the answer."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None


class Voice(Struct, frozen=True):
    """How an answer is spoken: by which voice, and in which format of sound."""

    voice: str
    format: str


class CompletionSpec(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Everything about a completion that does not concern its routing. None and empty mean absent, here and upstream."""

    model: str
    models: tuple[str, ...] = ()
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning: Reasoning | None = None
    modalities: tuple[str, ...] = ()
    audio: Voice | None = None
    prediction: str | None = None
    verbosity: str | None = None
    user: str | None = None
    session_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    preset: str | None = None
    n: int | None = None
    extra: str | None = None

    @property
    def excludes_reasoning(self) -> bool:
        """Whether the caller wants no thoughts in the answer."""
        return self.reasoning is not None and bool(self.reasoning.exclude)


class FinishReason(Enum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"


class Usage(Struct, frozen=True):
    """What was consumed, in tokens. All other counts are contained in the totals, never added to them.

    `accepted_prediction_tokens` stand in the answer as the caller predicted them. `rejected_prediction_tokens` do not, but are
    paid for like all output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class TopLogprob(Struct, frozen=True):
    """A token that could have stood in a place, and the logarithm of its probability.

    `token_bytes` is its UTF-8, where the provider tells it: a token may be a part of a character.
    """

    token: str
    logprob: float
    token_bytes: bytes | None = None


class TokenLogprob(TopLogprob, frozen=True):
    """The token that was chosen, and the likeliest ones for its place, if any were asked for."""

    top: tuple[TopLogprob, ...] = ()


class Logprobs(Struct, frozen=True):
    """How likely the tokens of an answer, or of a piece of one, were: those of its content and of its refusal."""

    content: tuple[TokenLogprob, ...] = ()
    refusal: tuple[TokenLogprob, ...] = ()


class Choice(Struct, frozen=True):
    """One answer, with why it ended in our word and in the provider's."""

    index: int
    message: Message
    finish_reason: FinishReason
    native_finish_reason: str
    logprobs: Logprobs | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """A whole answer. `usage` is None where the provider reported none."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    upstream_id: str | None = None
    time_to_first_token_s: float = 0.0
    dropped: tuple[str, ...] = ()


class ToolCallFragment(Struct, frozen=True):
    """A piece of the tool call number `index`; `id` and `name` in its first fragment only."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Delta(Struct, frozen=True, omit_defaults=True):
    """A piece of the answer number `index`."""

    index: int = 0
    content: str | None = None
    reasoning: str | None = None
    reasoning_details: tuple[str, ...] = ()
    tool_calls: tuple[ToolCallFragment, ...] = ()
    refusal: str | None = None
    annotations: tuple[Annotation, ...] = ()
    logprobs: Logprobs | None = None
    speech: Speech | None = None


class ChoiceEnd(Struct, frozen=True):
    """How the answer number `index` ended."""

    index: int
    finish_reason: FinishReason
    native_finish_reason: str


class StreamEnd(Struct, frozen=True, kw_only=True):
    """A stream that came to its proper end. `usage` is None where the provider reported none."""

    choices: tuple[ChoiceEnd, ...]
    usage: Usage | None = None
    upstream_id: str | None = None
    dropped: tuple[str, ...] = ()
