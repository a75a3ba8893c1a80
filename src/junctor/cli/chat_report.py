"""What came of a question? The result as one value, the line that sums it up, and what to do when there is none.

It prints nothing. Invariant: the JSON form has what the router reported, and nothing guessed.
"""

from google.protobuf.message import Message
from msgspec import Struct

from junctor.cli.money import in_usd
from junctor.client import CompleteResponse, Finished, JunctorRpcError

ROUTE_HEADINGS = ("", "endpoint", "outcome", "after", "HTTP status")

# What to do next, by the reason of the failure.
_NEXT = {
    "API_KEY_INVALID": "Use the key that `junctor up` wrote, another one with --key-file, or JUNCTOR_API_KEY.",
    "GENERATION_NOT_FOUND": "`junctor usage list` lists those of an API key.",
    "INSUFFICIENT_CREDITS": "Add credits to the account, or ask for less with --max-tokens.",
    "CHANGED_MEANWHILE": "Look at what there is now before you do it again.",
    "MODEL_NOT_FOUND": "`junctor models --all WORD` lists the models with a word in their name.",
    "NO_ELIGIBLE_ENDPOINT": "Start the server with the key of a provider that has the model (`junctor endpoints MODEL` names "
    "them), or try --model junctor/local.",
    "RESOURCE_NOT_FOUND": "The same command's `list` says what there is.",
    "SCOPE_MISSING": "Completion keys call models, management keys manage their own organisation, operator keys all of them; "
    "give another key with --key-file.",
    "STREAM_TRUNCATED": "The answer is not whole; ask again.",
    "STREAM_INTERRUPTED": "The answer is not whole; ask again.",
}


class ChatUsage(Struct, frozen=True):
    """The tokens of a call, as reported."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool


class ChatAttempt(Struct, frozen=True):
    """One endpoint that was tried."""

    provider: str
    endpoint: str
    outcome: str
    latency_ms: int
    http_status: int | None


class ChatAdjustment(Struct, frozen=True):
    """A parameter that was left out for the endpoint, or sent with another value."""

    parameter: str
    sent: str | None


class ChatResult(Struct, frozen=True, kw_only=True):
    """A whole result: what `--json` prints. `cost_nanousd` is None while the billing is pending."""

    answer: str
    reasoning: str
    finish_reason: str
    model: str
    provider: str
    endpoint: str
    usage: ChatUsage
    cost_nanousd: int | None
    time_to_first_token_ms: int
    latency_ms: int
    generation_id: str
    attempts: tuple[ChatAttempt, ...]
    adjustments: tuple[ChatAdjustment, ...]


def read_complete(response: CompleteResponse) -> ChatResult:
    """Return the result that a whole answer holds."""
    first = response.choices[0] if response.choices else None
    said = "".join(part.text.text for part in first.message.parts) or first.message.refusal if first else ""
    return _result(
        response,
        generation_id=response.generation_id,
        answer=said,
        reasoning=first.message.reasoning if first else "",
        finish_reason=word(first, "finish_reason") if first else "",
    )


def read_stream_end(ending: Finished, generation_id: str, answer: str, reasoning: str) -> ChatResult:
    """Return the result of a stream from its finished event and what was gathered before it."""
    first = ending.choices[0] if ending.choices else None
    return _result(
        ending,
        generation_id=generation_id,
        answer=answer,
        reasoning=reasoning,
        finish_reason=word(first, "finish_reason") if first else "",
    )


def _result(
    report: CompleteResponse | Finished, *, generation_id: str, answer: str, reasoning: str, finish_reason: str
) -> ChatResult:
    usage, route = report.usage, report.route
    return ChatResult(
        answer=answer,
        reasoning=reasoning,
        finish_reason=finish_reason,
        model=route.served_model,
        provider=route.provider,
        endpoint=route.endpoint,
        usage=ChatUsage(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            usage.estimated,
        ),
        cost_nanousd=report.cost.cost_nanousd if report.HasField("cost") else None,
        time_to_first_token_ms=report.time_to_first_token_ms,
        latency_ms=report.latency_ms,
        generation_id=generation_id,
        attempts=tuple(
            ChatAttempt(
                attempt.provider,
                attempt.endpoint,
                word(attempt, "outcome"),
                attempt.latency_ms,
                attempt.http_status if attempt.HasField("http_status") else None,
            )
            for attempt in route.attempts
        ),
        adjustments=tuple(
            ChatAdjustment(adjustment.parameter, adjustment.sent if adjustment.HasField("sent") else None)
            for adjustment in route.adjustments
        ),
    )


def word(message: Message, field: str) -> str:
    """Return an enum's value as a lower-case word without the enum's name; a value that is not known as its number."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    number: int = getattr(message, field)
    if kind is None or number not in kind.values_by_number:
        return str(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return kind.values_by_number[number].name.removeprefix(prefix).lower()


def summary(result: ChatResult) -> str:
    """Return the one line about an answer."""
    about = "about " if result.usage.estimated else ""
    parts = [
        result.model,
        result.provider,
        f"{about}{result.usage.input_tokens} tokens in, {result.usage.output_tokens} out",
        f"first token {_seconds(result.time_to_first_token_ms)}",
        f"total {_seconds(result.latency_ms)}",
    ]
    if result.finish_reason == "length":
        parts.append("cut at the most tokens")
    elif result.finish_reason == "content_filter":
        parts.append("cut by the provider's filter")
    return " · ".join(part for part in parts if part)


def route_rows(result: ChatResult) -> list[tuple[str, str]]:
    """Return where an answer came from and what it took, as (name, value) rows."""
    usage = result.usage
    return [
        ("model", result.model),
        ("endpoint", result.endpoint),
        ("cost", "not known yet" if result.cost_nanousd is None else in_usd(result.cost_nanousd)),
        ("tokens", f"{usage.input_tokens} in ({usage.cache_read_tokens} cached), {usage.output_tokens} out"),
        ("first token", _seconds(result.time_to_first_token_ms)),
        ("total", _seconds(result.latency_ms)),
        ("generation", result.generation_id),
        *(
            (changed.parameter, "left out" if changed.sent is None else f"sent as {changed.sent}")
            for changed in result.adjustments
        ),
    ]


def attempt_cells(attempt: ChatAttempt) -> tuple[str, ...]:
    """Return an attempt's row under ROUTE_HEADINGS."""
    status = "" if attempt.http_status is None else str(attempt.http_status)
    return attempt.provider, attempt.endpoint, attempt.outcome.replace("_", " "), _seconds(attempt.latency_ms), status


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - ms in a second


def explain(error: JunctorRpcError, target: str, timeout_s: float) -> list[str]:
    """Return what went wrong and what to do next, a line each."""
    # Without a reason of the router's own, the status is the transport's: nothing there speaks for Junctor.
    if error.reason == "UNAVAILABLE":
        # What grpc calls them; a router that asks for a certificate ends the connection as one does that speaks TLS.
        if "handshake failed" in error.message:
            return [f"What answers at {target} speaks no TLS, or shows a certificate that --ca does not trust."]
        if "Socket closed" in error.message:
            ended = f"What answers at {target} ended the connection"
            return [f"{ended}: it has stopped, or it may need TLS (--ca), or a certificate (--cert)."]
        return [f"Nothing answers at {target}; start it with `junctor up`, or give --target."]
    if error.reason == "UNIMPLEMENTED" and error.code == "UNIMPLEMENTED" and not error.metadata:
        what = f"What answers at {target} is not a Junctor of this version, or not the listener for this"
        return [f"{what}: models are called at one (50051 by default), all else is managed at another (50052)."]
    if error.reason == "DEADLINE_EXCEEDED":
        lines = [f"There was no whole answer within {timeout_s:g} s; give it more with --timeout."]
    else:
        lines = [f"{error.message} ({error.reason})"]
    found = [f"{field}: {wrong}" for field, wrong in error.field_violations]
    lines += [f"  {line}" for line in found if line != error.message]
    if error.reason == "NO_ELIGIBLE_ENDPOINT" and error.metadata.get("model") == "junctor/local":
        lines.append("The server runs without its local model; what it printed at its start says why.")
    elif error.reason in _NEXT:
        lines.append(_NEXT[error.reason])
    if "incident" in error.metadata:
        lines.append(f"The server's log tells more under the incident {error.metadata['incident']}.")
    if error.retry_after_s is not None:
        lines.append(f"Try again in {max(error.retry_after_s, 1):.0f} s.")
    return lines
