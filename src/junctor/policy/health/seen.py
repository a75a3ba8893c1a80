"""What does this instance tell the others of one endpoint? What it saw since it told them last (domain/health.Tally).

Of measurements it keeps SAMPLES_MAX at most in an interval, each with the same chance to be among them.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from junctor.domain.completion import Usage
from junctor.domain.health import Tally

SAMPLES_MAX: Final = 256


class Samples(Struct):
    """Some of the values that came, picked without favour."""

    values: list[float] = field(default_factory=list)
    count: int = 0

    def add(self, value: float, chance: Callable[[], float]) -> None:
        """Take in one value; `chance` gives numbers in [0, 1)."""
        self.count += 1
        if len(self.values) < SAMPLES_MAX:
            self.values.append(value)
        elif (place := int(chance() * self.count)) < SAMPLES_MAX:
            self.values[place] = value


class Seen(Struct):
    """The counts and samples of one endpoint in one interval. `begun` loses a call once it says nothing or is overdue."""

    ok: int = 0
    failed: int = 0
    begun: int = 0
    throttled: int = 0
    first_token_ms: Samples = field(default_factory=Samples)
    throughput: Samples = field(default_factory=Samples)
    input_tokens: int = 0
    cache_read_tokens: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to tell: that calls began is told with what came of any."""
        return not (self.ok or self.failed or self.throttled or self.first_token_ms.count)

    def answered(self, usage: Usage | None) -> None:
        """Count an answer and what was read for it, where the provider said so."""
        self.ok += 1
        if usage is not None and not usage.estimated:
            self.input_tokens += usage.input_tokens
            self.cache_read_tokens += usage.cache_read_tokens

    def tally(self, endpoint: str, probed: int) -> Tally:
        """Return what there is to tell, with how many probes in a row were answered."""
        return Tally(
            endpoint=endpoint,
            provider=endpoint.partition("/")[0],
            ok=self.ok,
            failed=self.failed,
            begun=self.begun,
            throttled=self.throttled,
            probed=probed,
            first_token_ms=tuple(self.first_token_ms.values),
            throughput=tuple(self.throughput.values),
            input_tokens=self.input_tokens,
            cache_read_tokens=self.cache_read_tokens,
        )
