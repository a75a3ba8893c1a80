"""What is known of a request that its caller named, without writing anything.

`slots.open_named` tells it too, but only to a call for which money is set aside. A caller who repeats the last request that he
could afford has none, and must still be told that it was answered, not that he is to pay.
"""

from junctor.domain.idempotency import RequestRecord
from junctor.domain.lease import SlotState
from junctor.ledger import trying
from junctor.ledger.slots import Answered, InProgress, Opening
from junctor.ports.ambient import Dice
from junctor.ports.table import Table
from junctor.records import generations, ids, keys, requests


async def find(table: Table, dice: Dice, record: RequestRecord) -> Opening | InProgress | Answered | None:
    """Return what stands against answering a request: REUSED, or another generation. None: nothing does.

    Raises:
        StoreError: it cannot be read.
    """
    found = await trying.get(table, dice, keys.request(record.account, record.digest))
    if found is None:
        return None
    if not requests.same_request(found, record):
        return Opening.REUSED
    answering = requests.generation_of(found)
    place = ids.parse_generation_id(answering, record.account)
    slot = await trying.get(table, dice, keys.slot(place)) if place else None
    if slot is None or place is None:
        return None
    match generations.state_of(slot):
        case SlotState.SETTLED:
            return Answered(generations.generation_of(slot, place))
        case SlotState.OPEN:
            return InProgress(answering)
        case _:
            return None
