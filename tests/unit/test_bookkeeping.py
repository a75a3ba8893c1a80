"""What the hourly bookkeeper does beside statements: grants that lapsed are closed, and what a purse owes is collected."""

import asyncio

from junctor.domain.credits import PurseState
from junctor.usecases.api_keys import NewApiKey
from junctor.usecases.credits import MAIN
from tests.support.control_model import REST_S, KeyModel, Organisation
from tests.support.stage import OPERATOR
from tests.support.virtual_loop import TimersLoop, run_virtual


async def used(amount: int) -> tuple[Organisation, KeyModel]:
    """Make an organisation with so many credits, and a key."""
    org = await Organisation().open()
    key, text = await org.stage.api_keys.create(OPERATOR, org.id, NewApiKey(name="k"))
    await org.add_credits("p1", amount, None)
    org.model.keys.append(KeyModel(key.lookup_id, [(text, None)], [text]))
    return org, org.model.keys[0]


def test_what_is_owed_is_collected_of_money_that_came_back_later() -> None:
    """An organisation whose money was in leases when a payment was taken back would be locked out for ever."""

    async def main() -> None:
        org, key = await used(200)
        await org.call(key, key.texts[0], 150, 0, hasty=False)
        await org.give_back("c1", "p1", 100, taken=True)
        await org.settle(0, None)
        await asyncio.sleep(REST_S)
        assert (await org.bookkeeper.once()).failed == 0
        purse = org.purses()[MAIN]
        assert (purse.avail_nanousd, purse.owed_nanousd, purse.leased_nanousd) == (100, 0, 0)
        await org.call(key, key.texts[0], 100, 0, hasty=False)
        assert len(org.flights) == 1
        await org.close()

    run_virtual(main(), TimersLoop)


def test_a_grant_that_lapsed_is_closed_and_swept() -> None:
    """A lapsed purse would count among the open ones for ever, until no more credits could be given that lapse."""

    async def main() -> None:
        org, _ = await used(200)
        await org.add_credits("p2", 50, org.now_ms + 1_000)
        await asyncio.sleep(1)
        await org.bookkeeper.once()
        (lapsed,) = (purse for name, purse in org.purses().items() if name != MAIN)
        assert (lapsed.state, lapsed.avail_nanousd, lapsed.expired_nanousd) == (PurseState.EXPIRED, 0, 50)
        assert org.purses()[MAIN].avail_nanousd == 200
        await org.close()

    run_virtual(main(), TimersLoop)
