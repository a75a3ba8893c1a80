"""What whole answers and streams have in common: reasons to stop, usage, texts, remarks on them, and ids of tool calls.

Nothing here trusts a number of the provider further than it makes sense: a part larger than its whole, a negative count or one
beyond any context counts as not reported, since money is computed from it.
"""

import zlib
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET

from junctor.domain.completion import (
    Annotation,
    FinishReason,
    Logprobs,
    OtherAnnotation,
    Speech,
    TokenLogprob,
    TopLogprob,
    UrlCitation,
    Usage,
)
from junctor.wire import openai_chat as wire

TOKENS_MAX: Final = 1_000_000_000

PIECES_MAX: Final = 1_024
"""More answers, or calls of tools in one, than any model gives: what is made of each costs fifty times its three bytes."""

_DENSE_BYTES: Final = 4 * 1024 * 1024
_COMMAS_MAX: Final = 2_000_000
"""A body above this length with more commas is read with care, as each may stand between two values that cost far more."""
_WHOLE_MAX: Final = 2**53
"""The largest whole number of JSON that is exact everywhere."""

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral: the context is full
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
NO_REASON: Final = "null"
"""Some hosts write null as text where there is no reason to stop yet.

https://github.com/PowerShell/AIShell/issues/350, https://github.com/Ai00-X/ai00_server/issues/90.
"""
TEXTS: Final = frozenset({"", "text", "output_text"})
"""The types of parts that are text; none is as good, and an empty one is none."""
_SILENCE: Final = wire.Speech()
_NO_DETAILS: Final = wire.CompletionTokensDetails()
_ANNOTATION: Final = msgspec.json.Decoder(wire.Annotation)
_LIKELIEST: Final = msgspec.json.Decoder(list[wire.TopLogprob] | None)
_IMPOSSIBLE: Final = -9999.0
"""What OpenAI and vLLM write for a token that could not stand there, as JSON has no infinity."""


def finish_reason(native: str | None, *, calls_tools: bool) -> FinishReason:
    """Return our word for a provider's; what is unknown is a plain stop.

    All 61 recorded answers with tool calls end with tool_calls. So one that says stop (as OpenAI does where the request
    named the tool) differs in spelling only, and is called the same: a caller must not have to look in two places.
    """
    reason = _FINISH.get(native or "", FinishReason.STOP)
    return FinishReason.TOOL_CALLS if calls_tools and reason is FinishReason.STOP else reason


def usage(reported: wire.Usage | None) -> Usage | None:
    """Return what was consumed, or None where the provider does not say it sensibly."""
    if reported is None:
        return None
    prompt, completion = _tokens(reported.prompt_tokens), _tokens(reported.completion_tokens)
    if prompt is None or completion is None:
        return None
    of_prompt, of_completion = reported.prompt_tokens_details, reported.completion_tokens_details
    if of_prompt is None and of_completion is None and reported.prompt_cache_hit_tokens is None:
        return Usage(prompt, completion)
    reasoning = _tokens(of_completion.reasoning_tokens) if of_completion else None
    if reasoning and _tokens(reported.total_tokens) == prompt + completion + reasoning:
        completion += reasoning  # the provider's own sum says that it counts its reasoning apart
    cached = _tokens(of_prompt.cached_tokens) if of_prompt else None
    if cached is None:
        cached = _tokens(reported.prompt_cache_hit_tokens)
    cache_read = _part(cached, prompt)
    cache_write = _part(_tokens(of_prompt.cache_write_tokens) if of_prompt else None, prompt - cache_read)
    if of_completion is None:
        of_completion = _NO_DETAILS
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=_part(reasoning, completion),
        audio_input_tokens=_part(_tokens(of_prompt.audio_tokens) if of_prompt else None, prompt),
        audio_output_tokens=_part(_tokens(of_completion.audio_tokens), completion),
        accepted_prediction_tokens=_part(_tokens(of_completion.accepted_prediction_tokens), completion),
        rejected_prediction_tokens=_part(_tokens(of_completion.rejected_prediction_tokens), completion),
    )


def usage_of(answer: wire.ChatCompletion) -> Usage | None:
    """Return the usage of an answer or chunk, in either of its places."""
    found = usage(answer.usage)
    return found if found is not None or answer.x_groq is None else usage(answer.x_groq.usage)


def is_dense(body: bytes) -> bool:
    """Say whether a body may hold so much that decoding it at once takes many times its length."""
    return len(body) > _DENSE_BYTES and body.count(b",") > _COMMAS_MAX


def is_crowded(answer: wire.ChatCompletion) -> bool:
    """Say whether an answer or chunk has more of anything than PIECES_MAX."""
    choices = answer.choices or ()
    if len(choices) > PIECES_MAX:
        return True
    for choice in choices:
        for message in (choice.message, choice.delta):
            if message is None:
                continue
            lists = (message.tool_calls, message.reasoning_details, message.annotations, message.executed_tools)
            if any(found is not None and len(found) > PIECES_MAX for found in lists):
                return True
    return False


def error_of(answer: wire.ChatCompletion) -> object:
    """Return the error that an answer or chunk carries in itself, in Groq's own part or in a choice, or None."""
    error = answer.error or (answer.x_groq and answer.x_groq.error)
    if error:
        return error
    for choice in answer.choices or ():
        if choice.error or choice.finish_reason == "error":
            return choice.error or {"message": "the answer ended with an error"}
    return None


def texts(message: wire.ChatMessage) -> tuple[str, str]:
    """Return the content and the reasoning of a message or delta, each empty if there is none.

    Reasoning stands in a field of either name, or as thinking (Mistral) or reasoning (Databricks) among the content parts.
    """
    reasoning = message.reasoning or message.reasoning_content or ""
    content = message.content
    if content is None or isinstance(content, str):
        return content or "", reasoning
    thoughts = "".join(_thought(part) for part in content)
    return "".join(part.text or "" for part in content if part.type in TEXTS), reasoning or thoughts


def details(message: wire.ChatMessage) -> tuple[str, ...]:
    """Return the structured reasoning, each piece verbatim (bytes that are not UTF-8 cannot be, and are replaced)."""
    pieces = message.reasoning_details
    return tuple(map(_verbatim, pieces)) if pieces else ()


def annotations(message: wire.ChatMessage) -> tuple[Annotation, ...]:
    """Return the remarks on the text of a message or delta; those that are no citations of pages verbatim.

    What the provider's own tools found for it is one, too.
    """
    remarks, found = message.annotations, message.executed_tools
    return tuple(map(_annotation, (*(remarks or ()), *(found or ())))) if remarks or found else ()


def speech(message: wire.ChatMessage) -> Speech | None:
    """Return what a message or delta says aloud, None if it says nothing."""
    heard = message.audio
    if heard is None or heard == _SILENCE:
        return None
    return Speech(heard.id, heard.data, heard.transcript, _whole(heard.expires_at))


def logprobs(told: wire.Logprobs) -> Logprobs | None:
    """Return how likely the tokens of an answer or delta were, None where it is not told as OpenAI tells it."""
    if not (told.content or told.refusal):
        return None  # as OpenAI's pieces without a token have it
    try:
        return Logprobs(tuple(map(_token, told.content or ())), tuple(map(_token, told.refusal or ())))
    except (ValueError, RecursionError):
        return None


def minted_id(number: int, answer_id: str | None) -> str:
    """Return an id for the tool call number `number` of an answer whose provider gave none.

    The answer's id goes into it, as some APIs refuse a conversation in which an id comes twice.
    """
    return f"call_{number}" if not answer_id else f"call_{number}_{zlib.crc32(answer_id.encode()):08x}"


def _thought(part: wire.ContentPart) -> str:
    """Return the text of a thinking part."""
    thought = part.thinking if part.type == "thinking" else part.summary or part.text if part.type == "reasoning" else None
    return "".join(piece.text or "" for piece in thought) if isinstance(thought, list) else thought or ""


def _annotation(remark: msgspec.Raw) -> Annotation:
    """Read one remark."""
    try:
        found = _ANNOTATION.decode(remark)
    except (ValueError, RecursionError):
        return OtherAnnotation(_verbatim(remark))
    cited = found.url_citation
    return UrlCitation(cited.url, cited.title, cited.content, _whole(cited.start_index), _whole(cited.end_index))


def _whole(number: float | None) -> int | None:
    """Return a place in a text or an instant, None if it cannot be one."""
    return int(number) if number is not None and 0 <= number <= _WHOLE_MAX else None


def _token(token: wire.TokenLogprob) -> TokenLogprob:
    """Read one token and those that could have stood there."""
    likeliest = None if token.top_logprobs is UNSET else _LIKELIEST.decode(token.top_logprobs)
    top = tuple(TopLogprob(other.token, _logarithm(other), _utf8(other.bytes)) for other in likeliest) if likeliest else ()
    return TokenLogprob(token.token, _logarithm(token), _utf8(token.bytes), top)


def _logarithm(token: wire.TopLogprob) -> float:
    return _IMPOSSIBLE if token.logprob is None else token.logprob


def _utf8(numbers: list[int] | None) -> bytes | None:
    """Return bytes that are given as numbers, None if they cannot be any."""
    try:
        return None if numbers is None else bytes(numbers)
    except ValueError:
        return None


def _verbatim(piece: msgspec.Raw) -> str:
    return str(bytes(piece), "utf-8", "replace")


def _tokens(count: float | None) -> int | None:
    """Return a count of tokens, or None if it cannot be one."""
    return int(count) if count is not None and 0 <= count <= TOKENS_MAX else None


def _part(count: int | None, whole: int) -> int:
    """Return a part of a whole, 0 if it is not known or larger than the whole."""
    return count if count is not None and count <= whole else 0
