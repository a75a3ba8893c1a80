"""No organisation learns anything of another; `python -m tests.security.crossing` tries 100,000 times what is tried here."""

import pytest

from junctor.domain.errors import JunctorError
from junctor.ports.table import Found, Key
from junctor.v1 import account_service_pb2 as pb
from junctor.v1 import usage_service_pb2 as usage_pb
from tests.security import crossing
from tests.security.crossing import ADMIN, NotedTable, Town, cases, cross
from tests.support.virtual_loop import TimersLoop, run_virtual

ATTEMPTS = 5_000
IDS = {"organisation", "member", "workspace", "api_key", "subject_id", "payment_id", "generation_id"}
OWN_NAMES = {("CreateMember", "member"), ("CreateWorkspace", "workspace"), ("ListOrganisations", "page_token")}


def test_whoever_asks_about_another_organisation_learns_nothing() -> None:
    """A leaked id would open another organisation's affairs, or a difference in the answers tell which ids are real."""
    found = cross(ATTEMPTS)
    assert found.touched == ()
    assert found.leaks == ()
    assert not found.changed
    assert {case: answers for case, answers in found.answers.items() if len(answers) > 1} == {}


def test_every_field_that_takes_an_id_is_tried() -> None:
    """A new method would be left out of the search, and be the one that tells."""
    wanted = {
        (method.name, field.name)
        for service in (
            pb.DESCRIPTOR.services_by_name["AccountService"],
            usage_pb.DESCRIPTOR.services_by_name["UsageService"],
        )
        for method in service.methods
        for field in method.input_type.fields
        if field.name in IDS or (field.name.endswith("_id") and field.name not in {"refund_id", "chargeback_id"})
    }
    tried = {(method, field) for method, field, _, _ in cross(500).answers}
    assert tried == wanted - OWN_NAMES


def test_one_s_own_ids_are_answered() -> None:
    """Nothing would be told of others because nothing is told to anybody."""

    async def main() -> None:
        town = Town(1)
        own, _ = await town.furnish()
        for case in cases(own):
            if case.method.startswith(("Get", "List", "Update", "Rotate", "SetLimit")):
                request = type(case.request)()
                request.CopyFrom(case.request)
                setattr(request, case.field, getattr(own, case.kind))
                assert not isinstance(await town.ask(ADMIN, case.method, request), JunctorError), case

    run_virtual(main(), TimersLoop)


def test_a_look_at_another_s_items_would_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search would find nothing because it does not look."""
    there: list[str] = []
    organisation = crossing.Town._organisation
    get = NotedTable.get

    async def noted(town: Town, *, with_keys: bool) -> crossing.Owned:
        owned = await organisation(town, with_keys=with_keys)
        there[:] = [owned.organisation]
        return owned

    async def nosy(table: NotedTable, key: Key, *, consistent: bool = True) -> Found:
        await get(table, Key(f"A#{there[0]}", "ORG"))
        return await get(table, key, consistent=consistent)

    monkeypatch.setattr(crossing.Town, "_organisation", noted)
    monkeypatch.setattr(NotedTable, "get", nosy)
    assert cross(200).touched
