"""Which endpoints fail for the whole fleet, who tries them meanwhile, when are they back? (routing.md, Health, L3 and L4).

An aggregator folds the digests of all instances into one Fleet, and takes its verdicts every few seconds. An endpoint is
ejected where at least half of no fewer than COUNTED_LEAST calls failed, of late or since the last verdicts, and not for one
instance alone: what is seen by all but the one that reports the most failures must say so too. It must be half of those that
began, too: failures are quick and answers take their time, so that after a start, or where traffic moves to an endpoint, those
that fail are the first to end, however few they are. What waits for longer than answers take there stands for nothing.

One instance is named an ejected endpoint's prober, one more whenever too few probes are heard of, and others for those that are
silent. Three probes in a row that were answered end it, whoever made them, and so does a time in which nobody asked it at all,
as otherwise a quiet endpoint would never be tried again. What failed before is forgotten then.

Each part of a digest is counted once: by its number, and, of an instance that this aggregator did not know, only if it was
written after the snapshot that it began from. Beyond that no instance's clock is looked at, so clocks may differ. A part that
says nothing of any endpoint is a sick instance's: it counts among the sick, and probes nothing. Refuses to read a clock.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log
from typing import Final

from msgspec import Struct

from junctor.domain.health import FleetView, Tally, Verdict
from junctor.policy.health.decay import HALF_LIFE_S, Counts
from junctor.policy.health.published import BUCKET_MS, Published, Sighting

COUNTED_LEAST: Final = 20.0
PROBES_ANSWERED: Final = 3
SILENT_MS: Final = 30_000
"""After how long without a digest an instance is taken for gone."""
PROBER_SILENT_MS: Final = 15_000
"""After how long without a word of its endpoint a prober is one no more."""
PROBE_PACE_MS: Final = 1_500
"""How often an endpoint that is out is to be probed by all probers together: it costs some calls, a late end costs all."""
PROBER_SLOW_MS: Final = 4_000
"""How long it takes to hear of a new prober: a probe, and two digests' time. Many probes at once are enough for no longer."""
PROBERS_MAX: Final = 8
UNASKED_MS: Final = 300_000
"""After how long without any call an endpoint that is out gets its traffic back."""
BACK_KEPT_MS: Final = 300_000
"""How long an ejection is told of after its end: what it was for is in the uptime of five minutes until then."""
KNOWN_MS: Final = 600_000
"""How long the number of an instance's last part is remembered: longer than its digest can be read."""
ONE_FAILURE: Final = 0.5
"""A failure is worth this much a half-life later."""
NOBODY: Final = ""
"""Who reported what an aggregator before this one had counted."""

SICK_PROVIDERS: Final = 3
SICK_CALLS: Final = 3


class _Calls(Counts, gc=False):
    """What an instance tells of an endpoint: how many calls ended, and how many began, which fades as those do."""

    begun: float = 0.0

    def count(self, sighting: Sighting, now_s: float) -> None:
        """Count what was seen."""
        self.fade(now_s)
        self.ok += sighting.ok
        self.failed += sighting.failed
        self.begun += sighting.begun

    def fade(self, now_s: float) -> None:
        """Let the counts be what they are worth at this instant."""
        before_s = self.at_s
        super().fade(now_s)
        self.begun *= 0.5 ** ((self.at_s - before_s) / HALF_LIFE_S)


class Part(Struct, frozen=True):
    """What an instance saw in one interval: its `number` rises with each, `at_ms` is its own clock's time.

    It has no sightings where the instance takes itself for what fails.
    """

    number: int
    at_ms: int
    sightings: tuple[Sighting, ...]


class Digest(Struct, frozen=True):
    """What an instance tells the others: its latest part, and those before it that may not have been read yet."""

    instance: str
    parts: tuple[Part, ...]


class _Reporter(Struct):
    """How far an instance's parts are counted, when the last one was, by the aggregator's clock, and if it was a sick one's."""

    number: int
    heard_ms: int
    sick: bool


class _Out(Struct):
    """An ejection under way: when the endpoint was last asked by anybody, who probes it, and when each was last heard of it.

    `enough_until_ms` is until when there were probes enough, or there is one prober more to be heard of. `probed` is how many
    probes in a row each had told of, `answered` how many were answered by all of them together; `turn` rises with each prober.
    """

    asked_ms: int
    probers: dict[str, int] = {}
    enough_until_ms: int = 0
    probed: dict[str, int] = {}
    answered: int = 0
    turn: int = 0

    def note(self, instance: str, sighting: Sighting, now_ms: int) -> None:
        """Take in what an instance saw meanwhile. Calls that began before may end well, so only probes count as answers."""
        if sighting.ok or sighting.failed:
            self.asked_ms = now_ms
        if instance not in self.probed:
            return
        before, self.probed[instance] = self.probed[instance], sighting.probed
        more = sighting.probed - before if sighting.probed >= before else sighting.probed
        probes, failed = more, sighting.probed < before
        if instance in self.probers:  # of a former one only what it tells late of its probes counts: it has other calls as well
            self.probers[instance] = now_ms
            probes, failed = sighting.ok + sighting.failed + sighting.throttled, sighting.failed > 0
        self.enough_until_ms = min(self.enough_until_ms + probes * PROBE_PACE_MS, now_ms + PROBER_SLOW_MS)
        self.answered = min(sighting.probed, sighting.ok) if failed else self.answered + more


class _Standing(Struct):
    """One endpoint: what each instance saw of late, what it saw since the last verdict, and what followed.

    `before` is what the aggregator before this one published, as long as nothing else is known.
    """

    published: Published
    before: Verdict | None = None
    before_until_ms: int = 0
    late: dict[str, _Calls] = {}
    interval: dict[str, _Calls] = {}
    out: _Out | None = None
    back_ms: int | None = None


class Fleet:
    """What an aggregator knows, from where the last snapshot ended, if not long ago. All instants are Unix milliseconds."""

    def __init__(self, before: FleetView | None, now_ms: int) -> None:
        known = before if before is not None and now_ms - before.at_ms < UNASKED_MS else None
        self._since_ms = max(known.at_ms if known is not None else 0, now_ms - SILENT_MS)
        self._reporters: dict[str, _Reporter] = {}
        self._standings: dict[str, _Standing] = {}
        for verdict in known.verdicts.values() if known is not None else ():
            self._standings[verdict.endpoint] = _continued(verdict, now_ms)

    def restore(self, bucket: int, counts: Mapping[str, tuple[int, int]], now_ms: int) -> None:
        """Take up what was counted in one bucket of history."""
        for endpoint, (ok, failed) in counts.items():
            self._standing(endpoint, now_ms).published.restore(bucket, ok, failed)

    def bucket(self, bucket: int) -> dict[str, tuple[int, int]]:
        """Return how many calls were answered and failed in one bucket of history, by endpoint, where there were any."""
        found = {endpoint: standing.published.counts(bucket) for endpoint, standing in self._standings.items()}
        return {endpoint: counts for endpoint, counts in found.items() if any(counts)}

    def take(self, digest: Digest, now_ms: int) -> None:
        """Count what is new in a digest."""
        known = self._reporters.get(digest.instance)
        for part in sorted(digest.parts, key=lambda part: part.number):
            if part.number > known.number if known is not None else part.at_ms > self._since_ms:
                known = self._reporters[digest.instance] = _Reporter(part.number, now_ms, not part.sightings)
                for sighting in part.sightings:
                    self._count(digest.instance, sighting, now_ms)

    def verdicts(self, now_ms: int) -> Iterator[Verdict]:
        """Judge every endpoint on all that was counted; to be gone through to its end once for each snapshot."""
        self._forget(now_ms)
        live = self._live(now_ms)
        well = [name for name in live if not self._reporters[name].sick]
        for endpoint, standing in list(self._standings.items()):
            _fade(standing, live, now_ms)
            if standing.out is None:
                if _agreed(standing.late) or _agreed(standing.interval):
                    standing.out, standing.back_ms = _Out(now_ms), None
            elif standing.out.answered >= PROBES_ANSWERED or now_ms - standing.out.asked_ms >= UNASKED_MS:
                standing.out, standing.back_ms, standing.late = None, now_ms, {}
            standing.interval = {}
            if standing.out is not None:
                _name_prober(endpoint, standing.out, standing.late, well, now_ms)
            if standing.out is None and not standing.late and standing.published.idle:
                del self._standings[endpoint]
            else:
                yield _verdict(endpoint, standing, now_ms)

    def mostly_sick(self, now_ms: int) -> bool:
        """Tell whether more than half of the instances that tell anything take themselves for what fails."""
        live = self._live(now_ms)
        return 2 * sum(self._reporters[name].sick for name in live) > len(live)

    def _live(self, now_ms: int) -> list[str]:
        return [name for name, reporter in self._reporters.items() if now_ms - reporter.heard_ms < SILENT_MS]

    def _count(self, instance: str, sighting: Sighting, now_ms: int) -> None:
        standing = self._standing(sighting.endpoint, now_ms)
        standing.published.note(sighting, now_ms)
        for counts in (standing.late, standing.interval):
            counts.setdefault(instance, _Calls(at_s=now_ms / 1000)).count(sighting, now_ms / 1000)
        if standing.out is not None:
            standing.out.note(instance, sighting, now_ms)

    def _standing(self, endpoint: str, now_ms: int) -> _Standing:
        if endpoint not in self._standings:
            self._standings[endpoint] = _Standing(Published(now_ms))
        return self._standings[endpoint]

    def _forget(self, now_ms: int) -> None:
        gone = [name for name, reporter in self._reporters.items() if now_ms - reporter.heard_ms >= KNOWN_MS]
        for name in gone:
            del self._reporters[name]


def is_sick(tallies: Iterable[Tally]) -> bool:
    """Tell whether what fails is rather this instance than its providers.

    At least SICK_PROVIDERS of them failed at least half of SICK_CALLS calls or more in this interval, and fewer were sound:
    where a whole cloud is out, the providers elsewhere answer, and an instance that cannot reach anybody finds few that do.
    """
    ok: dict[str, int] = {}
    failed: dict[str, int] = {}
    for tally in tallies:
        ok[tally.provider] = ok.get(tally.provider, 0) + tally.ok
        failed[tally.provider] = failed.get(tally.provider, 0) + tally.failed
    judged = [provider for provider in ok if ok[provider] + failed[provider] >= SICK_CALLS]
    failing = sum(failed[provider] >= ok[provider] for provider in judged)
    return failing >= SICK_PROVIDERS and failing > len(judged) - failing


def _continued(verdict: Verdict, now_ms: int) -> _Standing:
    """Return where an endpoint stands when only its last verdict is known."""
    heard, probed = dict.fromkeys(verdict.probers, now_ms), dict.fromkeys(verdict.probers, 0)
    return _Standing(
        published=Published(now_ms),
        before=verdict,
        before_until_ms=now_ms + BUCKET_MS,
        late={NOBODY: _Calls(verdict.ok, verdict.failed, now_ms / 1000)},
        out=_Out(now_ms, heard, now_ms + PROBER_SLOW_MS, probed) if verdict.ejected else None,
        back_ms=verdict.back_ms,
    )


def _fade(standing: _Standing, live: Sequence[str], now_ms: int) -> None:
    """Let counts be what they are worth now, and forget those of instances that are gone."""
    kept = {NOBODY, *live}
    standing.late = {name: counts for name, counts in standing.late.items() if name in kept}
    for name, counts in list(standing.late.items()):
        counts.fade(now_ms / 1000)
        if counts.ok + counts.failed < ONE_FAILURE / COUNTED_LEAST:
            del standing.late[name]


def _agreed(counts: Mapping[str, _Calls]) -> bool:
    """Tell whether more than one instance finds that an endpoint fails."""
    ended, failed, rest = _summed(counts.values())
    if ended < COUNTED_LEAST or failed < rest:
        return False
    named = [each for name, each in counts.items() if name != NOBODY]
    loudest = max(named, key=lambda each: each.failed, default=None)
    _, others_failed, others_rest = _summed(each for each in named if each is not loudest)
    return others_failed >= max(ONE_FAILURE, others_rest)


def _summed(those: Iterable[_Calls]) -> tuple[float, float, float]:
    """Return how many calls ended and how many failed, and how many did not: ended well, or began and have not ended yet."""
    ok = failed = begun = 0.0
    for each in those:
        ok, failed, begun = ok + each.ok, failed + each.failed, begun + each.begun
    return ok + failed, failed, max(ok, begun - failed)


def _name_prober(endpoint: str, out: _Out, late: Mapping[str, _Calls], well: Sequence[str], now_ms: int) -> None:
    """Keep the probers that are heard of this endpoint, and name one more where they probe it too seldom.

    It is drawn by chance that all aggregators would agree on. Chances are as an instance's calls of the endpoint were of late:
    who has no call for it cannot try it, and who has few for it needs others beside it.
    """
    silent = {name for name, heard_ms in out.probers.items() if now_ms - heard_ms >= PROBER_SILENT_MS}
    out.probers = {name: heard_ms for name, heard_ms in out.probers.items() if name not in silent}
    if out.probers and (now_ms < out.enough_until_ms or len(out.probers) >= PROBERS_MAX):
        return
    others = [name for name in well if name not in out.probers and name not in silent]
    if not others:
        return
    out.turn += 1

    def distance(name: str) -> float:
        # An exponential time with the rate of the weight: each one's is the least as often as its share says.
        drawn = int.from_bytes(hashlib.blake2b(f"{endpoint}\0{out.turn}\0{name}".encode(), digest_size=8).digest())
        calls = late[name].ok + late[name].failed if name in late else 0.0
        return -log((drawn + 0.5) / 2**64) / (calls + ONE_FAILURE / COUNTED_LEAST)

    named = min(others, key=distance)
    out.probers[named] = now_ms
    out.probed = {name: probed for name, probed in out.probed.items() if name in late or name in out.probers}
    out.probed.setdefault(named, 0)
    out.enough_until_ms = now_ms + PROBER_SLOW_MS


def _verdict(endpoint: str, standing: _Standing, now_ms: int) -> Verdict:
    if standing.back_ms is not None and now_ms - standing.back_ms >= BACK_KEPT_MS:
        standing.back_ms = None
    if standing.before is not None and now_ms >= standing.before_until_ms:
        standing.before = None
    published, before = standing.published, standing.before
    first_token, throughput = published.first_token(now_ms), published.throughput(now_ms)
    share = published.cache_read_share(now_ms)
    if before is not None:
        first_token, throughput = first_token or before.first_token_ms, throughput or before.throughput
        share = share or before.cache_read_share
    return Verdict(
        endpoint=endpoint,
        ok=sum(counts.ok for counts in standing.late.values()),
        failed=sum(counts.failed for counts in standing.late.values()),
        ejected=standing.out is not None,
        probers=tuple(standing.out.probers) if standing.out is not None else (),
        back_ms=standing.back_ms,
        uptime=published.uptime(now_ms),
        first_token_ms=first_token,
        throughput=throughput,
        cache_read_share=share,
    )
