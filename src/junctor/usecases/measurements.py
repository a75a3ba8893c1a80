"""All that one instance has measured of endpoints and credentials, in memory and bounded.

What is held of an endpoint, by its id; which credentials a provider refuses, at all of its endpoints; and which of their own
accounts' credentials (BYOK) trouble is known of, by account and endpoint. What was not used for an hour is forgotten.
"""

from collections.abc import Collection
from typing import Final

from junctor.domain.catalog import Endpoint
from junctor.policy.health.cooling import Cooling
from junctor.policy.health.measured import Measured
from junctor.policy.health.retries import Retries
from junctor.ports.ambient import Clock, Dice
from junctor.ports.telemetry import Telemetry

FORGOTTEN_S: Final = 3_600.0
SWEEP_EVERY_S: Final = 300.0
BYOK_MOST: Final = 10_000
"""Of how many pairs of account and endpoint trouble is remembered; the oldest is forgotten first."""


class Measurements:
    """The memory. `refusals` is by provider and then by the credential's name."""

    def __init__(self, clock: Clock, dice: Dice, telemetry: Telemetry) -> None:
        self.clock = clock
        self.dice = dice
        self.endpoints: dict[str, Measured] = {}
        self.refusals: dict[str, dict[str, Cooling]] = {}
        self.byok: dict[tuple[str, str], Cooling] = {}
        self.retries: dict[str, Retries] = {}
        self._telemetry = telemetry
        self._swept_s = clock.monotonic_s()

    def of(self, endpoint: str, now_s: float) -> Measured:
        """Return what is measured of an endpoint, to be added to."""
        found = self.endpoints.get(endpoint)
        if found is None:
            found = self.endpoints[endpoint] = Measured(now_s)
        found.used_s = now_s
        return found

    def budget(self, model: str, now_s: float) -> Retries:
        """Return the budget of a model's further attempts."""
        found = self.retries.get(model)
        if found is None:
            found = self.retries[model] = Retries(at_s=now_s)
        return found

    def refused(self, provider: str, now_s: float) -> Collection[str]:
        """Name the credentials that a provider refused of late."""
        held = self.refusals.get(provider)
        return () if held is None else [name for name, cooling in held.items() if now_s < cooling.until_s]

    def refuse(self, endpoint: Endpoint, credential: str, now_s: float) -> None:
        """Note that a provider refuses a credential, whatever it is asked for; raise the alarm if that is new."""
        held = self.refusals.setdefault(endpoint.provider, {}).setdefault(credential, Cooling())
        if now_s >= held.until_s:
            self.tell("credential_refused", endpoint, credential)
        held.refuse(now_s)
        self.changed()

    def byok_cooling(self, account: str, endpoint: str) -> Cooling:
        """Return what is known of an account's own credential at an endpoint, to be added to."""
        found = self.byok.get((account, endpoint))
        if found is None:
            if len(self.byok) >= BYOK_MOST:
                del self.byok[next(iter(self.byok))]
            found = self.byok[account, endpoint] = Cooling()
        return found

    def changed(self) -> None:
        """Have every endpoint looked at anew."""
        for measured in self.endpoints.values():
            measured.row = None

    def tell(self, event: str, endpoint: Endpoint, credential: str = "") -> None:
        """Tell the operator what happened to an endpoint, and to the credential of this name there."""
        fields = {"endpoint": endpoint.id, "provider": endpoint.provider}
        self._telemetry.event(event, {**fields, "credential": credential} if credential else fields)

    def sweep(self, now_s: float) -> None:
        """Forget what was not used for long, from time to time."""
        if now_s - self._swept_s < SWEEP_EVERY_S:
            return
        self._swept_s, since_s = now_s, now_s - FORGOTTEN_S
        for name in [name for name, row in self.endpoints.items() if row.used_s < since_s and not row.in_flight]:
            del self.endpoints[name]
        for model in [model for model, budget in self.retries.items() if budget.at_s < since_s]:
            del self.retries[model]
        for provider, held in tuple(self.refusals.items()):
            self.refusals[provider] = {name: cooling for name, cooling in held.items() if now_s < cooling.until_s}
            if not self.refusals[provider]:
                del self.refusals[provider]
        self.byok = {place: cooling for place, cooling in self.byok.items() if now_s < cooling.until_s}
