"""The methods of AccountService about money: credits, what changed them, and limits. Only operators make or take credits."""

from junctor.domain.account import Actor
from junctor.doors.codec import credits as codec
from junctor.doors.rpc.access import MANAGERS, OPERATORS
from junctor.doors.rpc.methods import Method, Methods
from junctor.usecases.credits import Credits
from junctor.usecases.entries import Entries
from junctor.usecases.limits import Limits
from junctor.v1 import account_service_pb2 as pb


def methods(credits_: Credits, entries: Entries, limits: Limits) -> Methods:
    """Return the methods."""
    return {**_credits(credits_, entries), **_limits(limits)}


def _credits(credits_: Credits, entries: Entries) -> Methods:
    async def add(actor: Actor, request: pb.AddCreditsRequest) -> pb.AddCreditsResponse:
        return codec.add_credits_response(*await credits_.add(actor, request.organisation, codec.deposit(request)))

    async def refund(actor: Actor, request: pb.RefundCreditsRequest) -> pb.RefundCreditsResponse:
        booked = await credits_.refund(actor, request.organisation, codec.refund(request))
        return pb.RefundCreditsResponse(entry=codec.entry(booked))

    async def charge_back(actor: Actor, request: pb.ChargeBackCreditsRequest) -> pb.ChargeBackCreditsResponse:
        booked = await credits_.charge_back(actor, request.organisation, codec.chargeback(request))
        return pb.ChargeBackCreditsResponse(entry=codec.entry(booked))

    async def get(actor: Actor, request: pb.GetCreditsRequest) -> pb.GetCreditsResponse:
        return codec.get_credits_response(await credits_.balance(actor, codec.organisation(request)))

    async def list_entries(actor: Actor, request: pb.ListLedgerEntriesRequest) -> pb.ListLedgerEntriesResponse:
        found = await entries.list(actor, request.organisation, *codec.entries_page(request))
        return codec.list_entries_response(*found)

    return {
        "AddCredits": Method(pb.AddCreditsRequest, OPERATORS, add),
        "RefundCredits": Method(pb.RefundCreditsRequest, OPERATORS, refund),
        "ChargeBackCredits": Method(pb.ChargeBackCreditsRequest, OPERATORS, charge_back),
        "GetCredits": Method(pb.GetCreditsRequest, MANAGERS, get),
        "ListLedgerEntries": Method(pb.ListLedgerEntriesRequest, MANAGERS, list_entries),
    }


def _limits(limits: Limits) -> Methods:
    async def set_limit(actor: Actor, request: pb.SetLimitRequest) -> pb.SetLimitResponse:
        name = codec.limit_name(request)
        state = await limits.set(actor, request.organisation, name, request.limit_nanousd)
        return pb.SetLimitResponse(limit=codec.limit(state))

    async def list_limits(actor: Actor, request: pb.ListLimitsRequest) -> pb.ListLimitsResponse:
        return codec.list_limits_response(*await limits.list(actor, request.organisation, *codec.limits_page(request)))

    async def delete_limit(actor: Actor, request: pb.DeleteLimitRequest) -> pb.DeleteLimitResponse:
        await limits.delete(actor, request.organisation, codec.limit_name(request))
        return pb.DeleteLimitResponse()

    return {
        "SetLimit": Method(pb.SetLimitRequest, MANAGERS, set_limit),
        "ListLimits": Method(pb.ListLimitsRequest, MANAGERS, list_limits),
        "DeleteLimit": Method(pb.DeleteLimitRequest, MANAGERS, delete_limit),
    }
