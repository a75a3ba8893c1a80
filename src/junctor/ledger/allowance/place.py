"""Where the rates of one API key are kept, and what is needed to get there."""

from dataclasses import dataclass

from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Table
from junctor.ports.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Place:
    """One API key at one instance. `api_key` is its public part; `instance` names no other running instance."""

    table: Table
    clock: Clock
    dice: Dice
    telemetry: Telemetry
    instance: str
    account: str
    api_key: str
