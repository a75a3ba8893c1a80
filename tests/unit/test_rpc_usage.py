"""UsageService's methods: who may call them, what they take, and what they answer."""

import pytest

from junctor.domain.account import KeyScope
from junctor.domain.errors import InvalidFieldError
from junctor.doors.codec import generations as codec
from junctor.doors.rpc.usage import methods
from junctor.v1 import usage_service_pb2 as pb
from tests.support.history import History, user
from tests.support.virtual_loop import run_virtual

SERVICE = pb.DESCRIPTOR.services_by_name["UsageService"]


def test_every_method_of_the_service_has_a_row_for_users_and_managers() -> None:
    """A method would not be served, or an operator be asked for an organisation that he cannot name."""

    async def main() -> None:
        rows = methods((await History().open()).generations)
        assert {name: row.request.DESCRIPTOR.full_name for name, row in rows.items()} == {
            method.name: method.input_type.full_name for method in SERVICE.methods
        }
        assert {row.scopes for row in rows.values()} == {frozenset({KeyScope.COMPLETION, KeyScope.MANAGEMENT})}

    run_virtual(main())


def test_what_was_generated_is_answered() -> None:
    """The methods would answer something else than what the use case found, or drop the token that continues a list."""

    async def main() -> None:
        history = await History().open()
        lease = await history.lease("ONE", 0)
        made = [codec.generation(await history.slot(lease, number)) for number in range(3)]
        rows = methods(history.generations)
        one = await rows["GetGeneration"].handle(user(), pb.GetGenerationRequest(generation_id=made[1].id))
        assert one == pb.GetGenerationResponse(generation=made[1])
        first = await rows["ListGenerations"].handle(user(), pb.ListGenerationsRequest(page_size=2, api_key="KEY"))
        assert isinstance(first, pb.ListGenerationsResponse)
        assert (list(first.generations), bool(first.next_page_token)) == ([made[2], made[1]], True)
        further = pb.ListGenerationsRequest(page_token=first.next_page_token)
        assert await rows["ListGenerations"].handle(user(), further) == pb.ListGenerationsResponse(generations=made[:1])

    run_virtual(main())


def test_a_page_has_a_hundred_unless_it_is_said_otherwise() -> None:
    """A client that sets nothing would get an empty list, or an account's whole history."""

    async def main() -> None:
        history = await History().open()
        lease = await history.lease("ONE", 0)
        for number in range(101):
            await history.slot(lease, number)
        listing = methods(history.generations)["ListGenerations"]
        for asked, expected in ((0, 100), (1, 1), (1_000, 101)):
            answer = await listing.handle(user(), pb.ListGenerationsRequest(page_size=asked))
            assert isinstance(answer, pb.ListGenerationsResponse)
            assert len(answer.generations) == expected

    run_virtual(main())


@pytest.mark.parametrize("size", [-1, 1_001, 2**31 - 1])
def test_a_page_size_out_of_bounds_is_refused(size: int) -> None:
    """One request could make the server gather without bound."""

    async def main() -> None:
        history = await History().open()
        with pytest.raises(InvalidFieldError) as refused:
            await methods(history.generations)["ListGenerations"].handle(user(), pb.ListGenerationsRequest(page_size=size))
        assert [field for field, _ in refused.value.violations] == ["page_size"]
        assert history.table.partitions == []

    run_virtual(main())
