"""Which endpoints belong together in the order? Those of one rank: a lower one goes first whatever the price (the soft order).

A rank is a sum of what speaks against an endpoint. From the weightiest:

- DROPPED, for each of tools, response format and reasoning that it would have to drop;
- TIGHT: the request may not fit into its context;
- MISSED: it misses what is preferred (throughput, time to first token); what is not measured is not missed;
- OPEN: its breaker is open, or none of its credentials may be used for now;
- DEGRADED: too many of its answers failed of late;
- AGGREGATOR: it belongs to one, which goes after direct endpoints;
- FULL: it has as many calls under way as it bore when it last asked to slow down.

The first three are what the call needs. A caller's own sort asks of the others only OPEN: he wants the cheapest, not the best.
"""

from typing import Final

FULL: Final = 1
AGGREGATOR: Final = 2
DEGRADED: Final = 4
OPEN: Final = 8
MISSED: Final = 16
TIGHT: Final = 32
DROPPED: Final = 64


def need(rank: int) -> int:
    """Return the part of a rank that is what the call needs."""
    return rank & -MISSED
