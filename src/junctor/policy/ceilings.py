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
from junctor.policy.bounds import DEFAULT_OUTPUT_HOLD_TOKENS, Size
from junctor.policy.pricing import SILENT, Audio, Terms, rounded_up
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
    if _is_plain(spec, size):
        return _of_plain(spec, size, candidates, at_ms, default_output_hold_tokens)
    request, bounded = _Request(spec, size, at_ms), spec.max_tokens is not None
    held, opened, tokens = 0, 0, 0
    for candidate in candidates:
        output_tokens = bounds.output_bound(spec, candidate.endpoint, default_output_hold_tokens)
        cost = request.ceiling(candidate, output_tokens)
        held, tokens = max(held, cost), max(tokens, output_tokens)
        if not bounded:
            opened = max(opened, request.ceiling(candidate, _output_most(spec, candidate)))
    return Ceiling(held, held if bounded else opened, tokens)


def _of_plain(
    spec: CompletionSpec, size: Size, candidates: Sequence[Candidate], at_ms: int, default_output_hold_tokens: int
) -> Ceiling:
    """Return the same for a plain call, as nearly all are: the dearest of all lines of all endpoints, rounded once."""
    terms, answers, asked = Terms(at_ms, None, size.images), spec.n or 1, spec.max_tokens
    wanted = default_output_hold_tokens if asked is None else asked
    held_picousd, open_picousd, tokens = 0, 0, 0
    for candidate in candidates:
        endpoint = candidate.endpoint
        longest = bounds.longest(endpoint)
        # Each call has four of these, and min and max take three times as long.
        output_tokens = longest if longest < wanted else wanted  # noqa: FURB136 - as said above
        input_tokens = bounds.input_bound(size, endpoint.context_tokens)
        for fixed, each, _ in pricing.lines(candidate.price, input_tokens, output_tokens, terms):
            cost = fixed + output_tokens * each
            if cost > held_picousd:  # noqa: PLR1730 - as said above
                held_picousd = cost
            if asked is None:
                cost = fixed + longest * each
                if cost > open_picousd:  # noqa: PLR1730 - as said above
                    open_picousd = cost
        if output_tokens > tokens:  # noqa: PLR1730 - as said above
            tokens = output_tokens
    held = rounded_up(held_picousd) * answers
    return Ceiling(held, rounded_up(open_picousd) * answers if asked is None else held, tokens)


def affordable_output_tokens(
    spec: CompletionSpec, candidates: Sequence[Candidate], at_ms: int, available_nanousd: NanoUsd
) -> int:
    """Return the most output tokens of each answer whose ceiling a sum covers, 0 if it does not even cover the input."""
    request = _Request(spec, bounds.size(spec), at_ms)

    def most(output_tokens: int) -> NanoUsd:
        limits = ((candidate, min(output_tokens, _output_most(spec, candidate))) for candidate in candidates)
        return max((request.ceiling(candidate, tokens) for candidate, tokens in limits), default=0)

    low, high = 0, max((_output_most(spec, candidate) for candidate in candidates), default=0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if most(middle) <= available_nanousd else (low, middle - 1)
    return low


def charge(spec: CompletionSpec, served: Candidate, usage: Usage, at_ms: int) -> NanoUsd:
    """Return what a call cost that began at an instant (Unix milliseconds). Raises PricingError as pricing.charge.

    Sound that nobody sent or asked for, and for which nothing is held, counts as text.
    """
    tier = None if spec.service_tier is None else service_tier(served.endpoint, spec)
    audio = SILENT
    if usage.audio_input_tokens or usage.audio_output_tokens:
        heard = usage.audio_input_tokens if bounds.has_audio(spec) else 0
        audio = Audio(heard, usage.audio_output_tokens if bounds.speaks(spec) else 0)
    return pricing.charge(served.price, usage, Terms(at_ms, tier, bounds.images(spec)), audio)


def _output_most(spec: CompletionSpec, candidate: Candidate) -> int:
    """Return the most output tokens of one answer that a request lets an endpoint give."""
    return bounds.output_bound(spec, candidate.endpoint, pricing.COUNT_MAX)


def _is_plain(spec: CompletionSpec, size: Size) -> bool:
    """Tell whether nothing but its size decides the ceiling of a request, at any endpoint."""
    return not (size.has_audio or spec.modalities) and spec.prediction is None and spec.service_tier is None


class _Request:
    """What of a request decides its ceiling at an endpoint, measured once."""

    __slots__ = ("_answers", "_at_ms", "_size", "_spec")

    def __init__(self, spec: CompletionSpec, size: Size, at_ms: int) -> None:
        self._spec = spec
        self._size = size
        self._at_ms = at_ms
        self._answers = spec.n or 1

    def ceiling(self, candidate: Candidate, output_tokens: int) -> NanoUsd:
        """Return the most that it may cost at an endpoint, with so many tokens of output in each answer."""
        endpoint, spec, size = candidate.endpoint, self._spec, self._size
        input_tokens = bounds.input_bound(size, endpoint.context_tokens)
        if spec.prediction is not None:
            output_tokens = min(output_tokens + bounds.rejected_bound(spec), pricing.COUNT_MAX)
        audio = SILENT
        if size.has_audio or spec.modalities:
            audio = Audio(input_tokens if size.has_audio else 0, output_tokens if bounds.speaks(spec) else 0)
        terms = Terms(self._at_ms, service_tier(endpoint, spec), size.images)
        return pricing.ceiling(candidate.price, input_tokens, output_tokens, terms, audio) * self._answers
