"""What the stories need of the world, gathered once by bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass, field

from junctor.domain.call import Snapshots
from junctor.ledger.allowance.allowance import Allowance
from junctor.ledger.ledger import Ledger
from junctor.ports.ambient import Clock, Dice
from junctor.ports.telemetry import Telemetry
from junctor.ports.upstream import Upstream
from junctor.usecases.admit import Admission
from junctor.usecases.deadlines import Deadlines
from junctor.usecases.instance_health import InstanceHealth


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a call meets. `snapshots` returns the views that one call uses from beginning to end."""

    admission: Admission
    snapshots: Callable[[], Snapshots]
    upstream: Upstream
    health: InstanceHealth
    ledger: Ledger
    allowance: Allowance
    clock: Clock
    dice: Dice
    telemetry: Telemetry
    deadlines: Deadlines = field(default_factory=Deadlines)
