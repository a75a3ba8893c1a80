"""From a call and three snapshots to a plan: which endpoints, in what order, and why the others were left out (routing.md).

Read `planning` first: names become models (`resolving`), models become what is known of their endpoints (`prepared`), what may
not take the call is left out with a reason (`filters`), and the rest is put in order (`offers`, `ranks` and `ordering`, with
`sticky` for cached conversations), each endpoint with the credentials to ask it with (`credentials`).

Pure: chance is a number in the snapshots, so the same call and snapshots give the same plan. Invariant: every endpoint of the
models that a call names is in its plan once, as candidate or as exclusion.
"""

from junctor.policy.routing.ordering import CANDIDATES_MAX
from junctor.policy.routing.planning import plan
from junctor.policy.routing.prepared import price_in_force, service_tier

__all__ = ["CANDIDATES_MAX", "plan", "price_in_force", "service_tier"]
