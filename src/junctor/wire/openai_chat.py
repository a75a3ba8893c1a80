"""OpenAI's chat-completions JSON, with what its many speakers added: requests, whole answers and stream chunks.

The names are OpenAI's own, and this is the only place where they stand. Unknown keys are ignored on decoding, null and absent
are one thing, and absent fields are left out on encoding. JSON that is free in form stays raw bytes, so that key order and
large integers survive. There is no logic and no check of values here: that is for whoever reads or writes these structs.
Those of which an answer is made are kept from Python's collector: frozen, and out of JSON, they cannot form a cycle.
"""

from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

ChoiceIndex: TypeAlias = Annotated[int, Meta(ge=0, lt=1024)]
"""The number of an answer: OpenAI allows 128 of them."""


class CacheControl(Struct, frozen=True, omit_defaults=True):
    """Anthropic's mark of a prefix to be cached, as aggregators take it on content parts and tools."""

    type: str
    ttl: str | None = None


class ImageUrl(Struct, frozen=True, omit_defaults=True):
    """Where a picture is: an https or data: address."""

    url: str
    detail: str | None = None


class InputAudio(Struct, frozen=True):
    """A recording, base64, in a format such as wav or mp3."""

    data: str
    format: str


class File(Struct, frozen=True, omit_defaults=True):
    """A document: `file_data` is a data: address, at some hosts also an https one."""

    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class ContentPart(Struct, frozen=True, omit_defaults=True):
    """One piece of a message, told apart by `type`: text, image_url, input_audio, file.

    In answers also Mistral's thinking and Databricks' reasoning: the pieces of one and of the other's summary are text.
    """

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    thinking: "str | list[ContentPart] | None" = None
    cache_control: CacheControl | None = None
    summary: "list[ContentPart] | None" = None


class FunctionCall(Struct, frozen=True, omit_defaults=True, gc=False):
    """Which function is called; `arguments` is JSON text. In a stream either may be missing from a piece."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call or, in a stream, a piece of the call number `index`."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionCall | None = None


class UrlCitation(Struct, frozen=True, omit_defaults=True):
    """A page that a part of the text rests on; `content` is OpenRouter's."""

    url: str
    title: str | None = None
    content: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(Struct, frozen=True):
    """A remark on a text; `type` is url_citation wherever that is there."""

    type: str
    url_citation: UrlCitation


class Speech(Struct, frozen=True, omit_defaults=True):
    """What a model says aloud, as sound in base64 and in words. The host keeps it as `id` until `expires_at` (Unix seconds)."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | float | None = None


class ChatMessage(Struct, frozen=True, omit_defaults=True, gc=False):
    """A message of a request or an answer, or a delta of one.

    Reasoning has three spellings among providers. `executed_tools` are Groq's: the tools that it ran itself for an answer, with
    what they found.
    """

    role: str | None = None
    content: str | list[ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Raw] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    audio: Speech | None = None
    annotations: list[Raw] | None = None
    executed_tools: list[Raw] | None = None


class FunctionDefinition(Struct, frozen=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None


class Tool(Struct, frozen=True, omit_defaults=True):
    """A tool; `type` is "function"."""

    type: str
    function: FunctionDefinition
    cache_control: CacheControl | None = None


class FunctionName(Struct, frozen=True):
    """A function, by name only."""

    name: str


class NamedToolChoice(Struct, frozen=True):
    """The tool that the model must call."""

    type: str
    function: FunctionName


class JsonSchema(Struct, frozen=True, omit_defaults=True):
    """The schema of a structured answer."""

    name: str
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, omit_defaults=True):
    """The form of the answer: text, json_object, json_schema or grammar."""

    type: str
    json_schema: JsonSchema | None = None
    grammar: str | None = None


class Reasoning(Struct, frozen=True, omit_defaults=True):
    """OpenRouter's object of reasoning options."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None


class Thinking(Struct, frozen=True):
    """A switch of the thinking mode: `type` is enabled or disabled."""

    type: str


class Voice(Struct, frozen=True):
    """How an answer is spoken."""

    voice: str
    format: str


class Prediction(Struct, frozen=True):
    """Text that much of the answer is expected to repeat; `type` is "content"."""

    type: str
    content: str | list[ContentPart]


class StreamOptions(Struct, frozen=True, omit_defaults=True):
    """What a stream should carry besides the answer."""

    include_usage: bool | None = None


class ChatRequest(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of POST /chat/completions."""

    model: str
    messages: list[ChatMessage]
    tools: list[Tool] | None = None
    tool_choice: str | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    modalities: list[str] | None = None
    audio: Voice | None = None
    prediction: Prediction | None = None
    verbosity: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class PromptTokensDetails(Struct, frozen=True, omit_defaults=True, gc=False):
    """What the prompt's tokens were."""

    cached_tokens: int | float | None = None
    cache_write_tokens: int | float | None = None
    audio_tokens: int | float | None = None


class CompletionTokensDetails(Struct, frozen=True, omit_defaults=True, gc=False):
    """What the answer's tokens were."""

    reasoning_tokens: int | float | None = None
    audio_tokens: int | float | None = None
    accepted_prediction_tokens: int | float | None = None
    rejected_prediction_tokens: int | float | None = None


class Usage(Struct, frozen=True, omit_defaults=True, gc=False):
    """What was consumed, in tokens. `prompt_cache_hit_tokens` is DeepSeek's word for cached ones."""

    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    total_tokens: int | float | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_cache_hit_tokens: int | float | None = None


class GroqExtension(Struct, frozen=True, omit_defaults=True):
    """Groq's own part of an answer; in streams the usage stands here, and the error that ended one too early."""

    usage: Usage | None = None
    error: object = None


class TopLogprob(Struct, frozen=True, omit_defaults=True, gc=False):
    """A token and the logarithm of its probability; `bytes` are its UTF-8. SGLang writes minus infinity as null."""

    token: str
    logprob: float | None
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob, frozen=True, omit_defaults=True, gc=False):
    """The token of a place; `top_logprobs` is a list of the likeliest ones for it, or null."""

    top_logprobs: Raw | UnsetType = UNSET


class Logprobs(Struct, frozen=True, omit_defaults=True, gc=False):
    """The likelihood of an answer's tokens. The likeliest ones of a place are unpacked place by place, as they are so many."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class Choice(Struct, frozen=True, omit_defaults=True, gc=False):
    """One answer, or in a chunk a `delta` of it. `native_finish_reason` and `error` are OpenRouter's."""

    index: ChoiceIndex | None = None
    message: ChatMessage | None = None
    delta: ChatMessage | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Logprobs | None = None
    error: object = None


class ChatCompletion(Struct, frozen=True, omit_defaults=True, gc=False):
    """A whole answer, or a chunk of a streamed one. `error` stands there instead of, or beside, the choices."""

    id: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    x_groq: GroqExtension | None = None
    error: object = None
