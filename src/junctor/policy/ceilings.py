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
    request, bounded = _Request(spec, at_ms), spec.max_tokens is not None
    held, opened, tokens = 0, 0, 0
    for candidate in candidates:
        output_tokens = bounds.output_bound(spec, candidate.endpoint, default_output_hold_tokens)
        cost = request.ceiling(candidate, output_tokens)
        if cost > held:  # noqa: PLR1730 - each call has four of these, and max takes three times as long
            held = cost
        if output_tokens > tokens:  # noqa: PLR1730 - as above
            tokens = output_tokens
        if not bounded:
            opened = max(opened, request.ceiling(candidate, _longest(spec, candidate)))
    return Ceiling(held, held if bounded else opened, tokens)


def affordable_output_tokens(
    spec: CompletionSpec, candidates: Sequence[Candidate], at_ms: int, available_nanousd: NanoUsd
) -> int:
    """Return the most output tokens of each answer whose ceiling a sum covers, 0 if it does not even cover the input."""
    request = _Request(spec, at_ms)

    def most(output_tokens: int) -> NanoUsd:
        limits = ((candidate, min(output_tokens, _longest(spec, candidate))) for candidate in candidates)
        return max((request.ceiling(candidate, tokens) for candidate, tokens in limits), default=0)

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


class _Request:
    """What of a request decides its ceiling at any endpoint, measured once. `_plain`: nothing does but its size."""

    __slots__ = ("_answers", "_plain", "_size", "_spec", "_terms")

    def __init__(self, spec: CompletionSpec, at_ms: int) -> None:
        self._spec = spec
        self._size = size = bounds.size(spec)
        self._terms = Terms(at_ms, None, size.images)
        self._answers = spec.n or 1
        self._plain = not (size.has_audio or spec.modalities) and spec.prediction is None and spec.service_tier is None

    def ceiling(self, candidate: Candidate, output_tokens: int) -> NanoUsd:
        """Return the most that it may cost at an endpoint, with so many tokens of output in each answer."""
        endpoint, size = candidate.endpoint, self._size
        input_tokens = bounds.input_bound(size, endpoint.context_tokens)
        terms, audio = self._terms, SILENT
        if not self._plain:
            spec = self._spec
            if spec.prediction is not None:
                output_tokens = min(output_tokens + bounds.rejected_bound(spec), pricing.COUNT_MAX)
            terms = Terms(terms.at_ms, service_tier(endpoint, spec), size.images)
            if size.has_audio or spec.modalities:
                audio = Audio(input_tokens if size.has_audio else 0, output_tokens if bounds.speaks(spec) else 0)
        return pricing.ceiling(candidate.price, input_tokens, output_tokens, terms, audio) * self._answers
