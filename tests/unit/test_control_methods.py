"""Every method of the control plane, and whose keys may call it: what has no row here is not served."""

import asyncio

import pytest
from google.protobuf.message import Message

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.tables.simulated import SimulatedStore
from junctor.domain.account import KeyScope
from junctor.domain.errors import DeadlineError
from junctor.doors.rpc.control import DEADLINE_DEFAULT_S
from junctor.records.tables import CORE
from junctor.v1 import account_service_pb2 as pb
from tests.support.control_plane import ControlPlane, all_methods
from tests.support.doors import at_hand
from tests.support.virtual_loop import run_virtual

OPERATORS = {KeyScope.OPERATOR}
MANAGERS = {KeyScope.OPERATOR, KeyScope.MANAGEMENT}
SCOPES = {
    "CreateOrganisation": OPERATORS,
    "GetOrganisation": MANAGERS,
    "ListOrganisations": OPERATORS,
    "UpdateOrganisation": MANAGERS,
    "CreateMember": MANAGERS,
    "ListMembers": MANAGERS,
    "UpdateMember": MANAGERS,
    "DeleteMember": MANAGERS,
    "CreateWorkspace": MANAGERS,
    "ListWorkspaces": MANAGERS,
    "UpdateWorkspace": MANAGERS,
    "DeleteWorkspace": MANAGERS,
    "CreateApiKey": MANAGERS,
    "GetApiKey": MANAGERS,
    "ListApiKeys": MANAGERS,
    "UpdateApiKey": MANAGERS,
    "RotateApiKey": MANAGERS,
    "DeleteApiKey": MANAGERS,
    "SetLimit": MANAGERS,
    "ListLimits": MANAGERS,
    "DeleteLimit": MANAGERS,
    "AddCredits": OPERATORS,
    "RefundCredits": OPERATORS,
    "ChargeBackCredits": OPERATORS,
    "GetCredits": MANAGERS,
    "ListLedgerEntries": MANAGERS,
}


def test_every_method_has_a_row_and_the_scopes_that_it_is_meant_to_have() -> None:
    """A method could be open to keys that must not call it, or be missing from the server without anybody noticing."""
    methods = all_methods(SimulatedStore(), SystemClock())
    assert {name: set(method.scopes) for name, method in methods.items()} == SCOPES
    service = pb.DESCRIPTOR.services_by_name["AccountService"]
    assert set(methods) == {method.name for method in service.methods}


def test_no_completion_key_may_call_any() -> None:
    """A key that leaked out of a service that calls models could give itself everything."""
    for name, method in all_methods(SimulatedStore(), SystemClock()).items():
        assert KeyScope.COMPLETION not in method.scopes, name


def test_every_row_takes_its_own_request() -> None:
    """A method would read another one's fields."""
    for method in pb.DESCRIPTOR.services_by_name["AccountService"].methods:
        row = all_methods(SimulatedStore(), SystemClock())[method.name]
        assert issubclass(row.request, Message)
        assert row.request.DESCRIPTOR is method.input_type


def test_what_comes_after_its_deadline_is_not_begun() -> None:
    """A change would be made of which its caller is told that the time for it was over."""

    async def late(_account: str) -> bytes:
        await asyncio.sleep(DEADLINE_DEFAULT_S + 1)
        return pb.CreateOrganisationRequest(name="late").SerializeToString()

    async def scenario() -> None:
        plane = ControlPlane()
        await plane.store.create([CORE])
        key = await plane.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
        with pytest.raises(DeadlineError) as caught:
            await plane.rpc.call("CreateOrganisation", late, key, None)
        assert caught.value.metadata == {"stage": "receipt"}
        found = await plane.rpc.call("ListOrganisations", at_hand(b""), key, None)
        assert found == pb.ListOrganisationsResponse()

    run_virtual(scenario())
