"""What a call may cost over all the endpoints that may answer it, and what it did cost: prices applied to a call.

Any candidate of a plan may end up answering, so the ceiling is the dearest one's, times the number of answers. A ceiling and a
charge are made of the same terms, so what a provider bills within the bounds is never more than was held.
"""

from collections.abc import Sequence

from msgspec import Struct

from junctor.domain.completion import CompletionSpec, Usage
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Candidate
from junctor.policy import bounds, pricing
from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS
from junctor.policy.pricing import SILENT, Audio, Terms
from junctor.policy.routing import service_tier


class Ceiling(Struct, frozen=True):
    """The most that a call may cost.

    `hold_nanousd` is with as much output as the caller allows, else with `output_tokens` for each answer, for which money is
    held. `open_nanousd` is with as much as the endpoints allow: more than the hold only where the caller sets no bound.
    """

    hold_nanousd: NanoUsd = 0
    open_nanousd: NanoUsd = 0
    output_tokens: int = 0


def of(
    spec: CompletionSpec,
    candidates: Sequence[Candidate],
    at_ms: int,
    default_output_hold_tokens: int = DEFAULT_OUTPUT_HOLD_TOKENS,
) -> Ceiling:
    """Return the ceiling of a call that began at an instant (Unix milliseconds). Raises PricingError as pricing.ceiling."""
    size = bounds.size(spec)
    held, opened, tokens = 0, 0, 0
    for candidate in candidates:
        output_tokens = bounds.output_bound(spec, candidate.endpoint, default_output_hold_tokens)
        cost = _ceiling(spec, size, candidate, output_tokens, at_ms)
        held = max(held, cost)
        tokens = max(tokens, output_tokens)
        if spec.max_tokens is None:
            opened = max(opened, _ceiling(spec, size, candidate, _longest(spec, candidate), at_ms))
    return Ceiling(held, opened if spec.max_tokens is None else held, tokens)


def affordable_output_tokens(
    spec: CompletionSpec, candidates: Sequence[Candidate], at_ms: int, available_nanousd: NanoUsd
) -> int:
    """Return the most output tokens of each answer whose ceiling a sum covers, 0 if it does not even cover the input."""
    size = bounds.size(spec)

    def most(output_tokens: int) -> NanoUsd:
        limits = ((candidate, min(output_tokens, _longest(spec, candidate))) for candidate in candidates)
        return max((_ceiling(spec, size, candidate, tokens, at_ms) for candidate, tokens in limits), default=0)

    low, high = 0, max((_longest(spec, candidate) for candidate in candidates), default=0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if most(middle) <= available_nanousd else (low, middle - 1)
    return low


def charge(spec: CompletionSpec, served: Candidate, usage: Usage, at_ms: int) -> NanoUsd:
    """Return what a call cost that began at an instant (Unix milliseconds). Raises PricingError as pricing.charge.

    Sound that nobody sent or asked for, and for which nothing is held, counts as text.
    """
    images = bounds.images(spec)
    audio = SILENT
    if usage.audio_input_tokens or usage.audio_output_tokens:
        heard = usage.audio_input_tokens if bounds.has_audio(spec) else 0
        audio = Audio(heard, usage.audio_output_tokens if bounds.speaks(spec) else 0)
    return pricing.charge(served.price, usage, Terms(at_ms, service_tier(served.endpoint, spec), images), audio)


def _longest(spec: CompletionSpec, candidate: Candidate) -> int:
    return bounds.output_bound(spec, candidate.endpoint, pricing.COUNT_MAX)


def _ceiling(spec: CompletionSpec, size: bounds.Size, candidate: Candidate, output_tokens: int, at_ms: int) -> NanoUsd:
    endpoint = candidate.endpoint
    input_tokens = bounds.input_bound(size, endpoint.context_tokens)
    if spec.prediction is not None:
        output_tokens = min(output_tokens + bounds.rejected_bound(spec), pricing.COUNT_MAX)
    tier = None if spec.service_tier is None else service_tier(endpoint, spec)
    terms = Terms(at_ms, tier, size.images)
    audio = SILENT
    if size.has_audio or spec.modalities:
        audio = Audio(input_tokens if size.has_audio else 0, output_tokens if bounds.speaks(spec) else 0)
    return pricing.ceiling(candidate.price, input_tokens, output_tokens, terms, audio) * (spec.n or 1)
