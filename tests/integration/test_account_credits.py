"""The methods of AccountService about money, from proto to store and back, as the door calls them."""

from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.message import Message

from junctor.domain.account import Actor, KeyScope
from junctor.domain.credits import Interval
from junctor.domain.errors import (
    BookingRefusedError,
    InvalidFieldError,
    JunctorError,
    ResourceNotFoundError,
    ScopeMissingError,
)
from junctor.ledger import closing
from junctor.records import windows
from junctor.v1 import account_service_pb2 as pb
from tests.support.bank import ACCOUNT, NOW_MS, Bank, play
from tests.support.desk import ADA, ADMIN, BILLING, FOREIGN_KEY, KEY, OPERATOR, STRANGER, Desk

DOLLAR = 10**9
DAY, WEEK, MONTH = pb.INTERVAL_DAY, pb.INTERVAL_WEEK, pb.INTERVAL_MONTH
ORGANISATION, OF_KEY = pb.LIMIT_SUBJECT_ORGANISATION, pb.LIMIT_SUBJECT_API_KEY
WORKSPACE, MEMBER = pb.LIMIT_SUBJECT_WORKSPACE, pb.LIMIT_SUBJECT_MEMBER


def at_desk(scenario: Callable[[Desk], Awaitable[None]]) -> None:
    """Play a scenario at an open desk, over a judged store."""

    async def with_desk(bank: Bank) -> None:
        await scenario(await Desk(bank).open())

    play(with_desk)


def paid(amount: int = 100 * DOLLAR, payment_id: str = "p1", **more: int) -> pb.AddCreditsRequest:
    """Return a request to credit a payment."""
    return pb.AddCreditsRequest(organisation=ACCOUNT, payment_id=payment_id, amount_nanousd=amount, **more)


def back(amount: int, refund_id: str = "r1", payment_id: str = "p1") -> pb.RefundCreditsRequest:
    """Return a request to refund."""
    return pb.RefundCreditsRequest(organisation=ACCOUNT, refund_id=refund_id, payment_id=payment_id, amount_nanousd=amount)


def claw(amount: int, chargeback_id: str = "c1", payment_id: str = "p1") -> pb.ChargeBackCreditsRequest:
    """Return a request to book a chargeback."""
    return pb.ChargeBackCreditsRequest(
        organisation=ACCOUNT, chargeback_id=chargeback_id, payment_id=payment_id, amount_nanousd=amount
    )


def bound(amount: int, subject: int = ORGANISATION, subject_id: str = "", interval: int = DAY) -> pb.SetLimitRequest:
    """Return a request to set a limit."""
    request = pb.SetLimitRequest(subject_id=subject_id, limit_nanousd=amount)
    request.subject, request.interval = subject, interval  # type: ignore[assignment] # any number is what a caller may send
    return request


async def refused(desk: Desk, actor: Actor, request: Message, error: type[JunctorError]) -> JunctorError:
    """Ask what is refused, and return the error."""
    with pytest.raises(error) as found:
        await desk.ask(actor, request)
    return found.value


def test_a_payment_is_credited_once_less_its_fee() -> None:
    """A payment sent twice would count twice, the fee be wrong, or the answer differ from what was booked."""

    async def scenario(desk: Desk) -> None:
        first = await desk.ask(OPERATOR, paid())
        desk.clock.ahead_ms += 5_000
        assert await desk.ask(OPERATOR, paid()) == first
        assert await desk.ask(OPERATOR, paid(fee_ppm=50_000)) == first
        assert isinstance(first, pb.AddCreditsResponse)
        assert (first.entry.amount_nanousd, first.entry.fee_nanousd) == (95 * DOLLAR, 5 * DOLLAR)
        assert (first.entry.purse, first.available_nanousd) == ("main", 95 * DOLLAR)
        for other in (paid(99 * DOLLAR), paid(fee_ppm=0), paid(expires_at_ms=NOW_MS * 2)):
            error = await refused(desk, OPERATOR, other, BookingRefusedError)
            assert error.metadata == {"booking": "DIFFERS"}
        credits_ = await desk.ask(OPERATOR, pb.GetCreditsRequest(organisation=ACCOUNT))
        assert isinstance(credits_, pb.GetCreditsResponse)
        assert (credits_.available_nanousd, credits_.credited_nanousd, len(credits_.purses)) == (95 * DOLLAR, 95 * DOLLAR, 1)

    at_desk(scenario)


def test_a_fee_that_the_deployment_changes_does_not_change_what_is_booked() -> None:
    """A payment whose answer was lost could not be sent again once the deployment's fee was changed."""

    async def scenario(desk: Desk) -> None:
        first = await desk.ask(OPERATOR, paid())
        assert await Desk(desk.bank, fee_ppm=0).ask(OPERATOR, paid()) == first

    at_desk(scenario)


@pytest.mark.parametrize(("amount", "ppm", "fee"), [(1, 999_999, 0), (3, 500_000, 1), (10**15, 999_999, 999_999 * 10**9)])
def test_a_fee_is_rounded_down(amount: int, ppm: int, fee: int) -> None:
    """Someone would pay a higher fee than the rate says, or be credited nothing."""

    async def scenario(desk: Desk) -> None:
        response = await desk.ask(OPERATOR, paid(amount, fee_ppm=ppm))
        assert isinstance(response, pb.AddCreditsResponse)
        assert (response.entry.fee_nanousd, response.entry.amount_nanousd) == (fee, amount - fee)

    at_desk(scenario)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (paid(0), "amount_nanousd"),
        (paid(-1), "amount_nanousd"),
        (paid(10**15 + 1), "amount_nanousd"),
        (paid(fee_ppm=-1), "fee_ppm"),
        (paid(fee_ppm=1_000_000), "fee_ppm"),
        (paid(expires_at_ms=0), "expires_at_ms"),
        (paid(expires_at_ms=NOW_MS), "expires_at_ms"),
        (paid(payment_id=""), "payment_id"),
        (paid(payment_id="a#b"), "payment_id"),
        (paid(payment_id="é"), "payment_id"),
        (paid(payment_id="x" * 101), "payment_id"),
        (paid(payment_id="p1\n"), "payment_id"),
        (paid(payment_id=f"grant/{ACCOUNT}/DAY-2026-11-21"), "payment_id"),
        (pb.AddCreditsRequest(organisation="A#B", payment_id="p", amount_nanousd=1), "organisation"),
        (pb.AddCreditsRequest(payment_id="p", amount_nanousd=1), "organisation"),
        (back(0), "amount_nanousd"),
        (back(2**63 - 1), "amount_nanousd"),
        (back(1, refund_id=" "), "refund_id"),
        (back(1, payment_id=""), "payment_id"),
        (claw(-5), "amount_nanousd"),
        (claw(1, chargeback_id=""), "chargeback_id"),
    ],
)
def test_what_is_no_movement_of_money_is_refused(request_: Message, field: str) -> None:
    """Money could be made of a negative payment, or a number overflow, or an id reach another item."""

    async def scenario(desk: Desk) -> None:
        before = desk.bank.items()
        error = await refused(desk, OPERATOR, request_, InvalidFieldError)
        assert isinstance(error, InvalidFieldError)
        assert [path for path, _ in error.violations] == [field]
        assert desk.bank.items() == before

    at_desk(scenario)


def test_a_refund_goes_out_of_what_was_paid_once() -> None:
    """A refund sent twice would go back twice, or more go back than came."""

    async def scenario(desk: Desk) -> None:
        await desk.ask(OPERATOR, paid())
        first = await desk.ask(OPERATOR, back(60 * DOLLAR))
        desk.clock.ahead_ms += 5_000
        assert await desk.ask(OPERATOR, back(60 * DOLLAR)) == first
        assert isinstance(first, pb.RefundCreditsResponse)
        assert (first.entry.payment_id, first.entry.purse, first.entry.amount_nanousd) == ("p1", "main", 60 * DOLLAR)
        for request, word in (
            (back(61 * DOLLAR), "DIFFERS"),
            (back(36 * DOLLAR, "r2"), "PAYMENT_SHORT"),
            (back(1, "r2", "nobody"), "PAYMENT_UNKNOWN"),
        ):
            assert (await refused(desk, OPERATOR, request, BookingRefusedError)).metadata == {"booking": word}
        await desk.bank.leased(30 * DOLLAR)
        assert (await refused(desk, OPERATOR, back(6 * DOLLAR, "r2"), BookingRefusedError)).metadata["booking"] == "PURSE_SHORT"
        assert await desk.ask(OPERATOR, back(5 * DOLLAR, "r2"))

    at_desk(scenario)


def test_a_chargeback_is_owed_until_it_is_paid() -> None:
    """An organisation could go on spending what its bank took back from us."""

    async def scenario(desk: Desk) -> None:
        await desk.ask(OPERATOR, paid(fee_ppm=0))
        await desk.bank.leased(70 * DOLLAR)
        first = await desk.ask(OPERATOR, claw(50 * DOLLAR))
        assert await desk.ask(OPERATOR, claw(50 * DOLLAR)) == first
        credits_ = await desk.ask(BILLING, pb.GetCreditsRequest())
        assert isinstance(credits_, pb.GetCreditsResponse)
        assert (credits_.available_nanousd, credits_.owed_nanousd, credits_.leased_nanousd) == (0, 20 * DOLLAR, 70 * DOLLAR)
        response = await desk.ask(OPERATOR, paid(payment_id="p2", fee_ppm=0))
        assert isinstance(response, pb.AddCreditsResponse)
        assert response.available_nanousd == 80 * DOLLAR

    at_desk(scenario)


def test_credits_that_lapse_have_purses_of_their_own_and_are_bounded() -> None:
    """What lapses would lapse with what does not, or so many purses be open that calls cannot use them all."""

    async def scenario(desk: Desk) -> None:
        for number in range(24):
            await desk.ask(OPERATOR, paid(10, f"g{number}", fee_ppm=0, expires_at_ms=NOW_MS + 1_000_000 + number))
        error = await refused(desk, OPERATOR, paid(10, "g24", expires_at_ms=NOW_MS + 1_000_000), BookingRefusedError)
        assert error.metadata == {"booking": "GRANTS_MAX", "grants": "24"}
        again = paid(10, "g3", fee_ppm=0, expires_at_ms=NOW_MS + 1_000_003)
        assert await desk.ask(OPERATOR, again)
        later = paid(10, "g3", fee_ppm=0, expires_at_ms=NOW_MS + 1_000_004)
        assert (await refused(desk, OPERATOR, later, BookingRefusedError)).metadata == {"booking": "DIFFERS"}
        response = await desk.ask(OPERATOR, paid(5, "p", fee_ppm=0))
        assert isinstance(response, pb.AddCreditsResponse)
        assert response.available_nanousd == 245
        desk.clock.ahead_ms += 1_000_010
        credits_ = await desk.ask(ADMIN, pb.GetCreditsRequest())
        assert isinstance(credits_, pb.GetCreditsResponse)
        assert (credits_.available_nanousd, credits_.credited_nanousd) == (5 + 10 * 13, 245)
        assert (credits_.purses[0].id, credits_.purses[0].HasField("expires_at_ms")) == ("main", False)
        assert all(purse.expires_at_ms > NOW_MS for purse in credits_.purses[1:])

    at_desk(scenario)


def test_entries_are_listed_kind_by_kind_over_pages() -> None:
    """Somebody who checks his bill would miss an entry, or see one twice."""

    async def scenario(desk: Desk) -> None:
        bank = desk.bank
        for number in range(5):
            await desk.ask(OPERATOR, paid(100, f"p{number}"))
        await desk.ask(OPERATOR, back(10, "r", "p1"))
        await desk.ask(OPERATOR, claw(7, "c", "p2"))
        for number in range(3):
            lease = await bank.leased(20, number=number)
            await bank.spent(lease, 0, number, hold=number)
            await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await bank.leased(1, number=9)
        whole = await desk.ask(ADMIN, pb.ListLedgerEntriesRequest())
        assert isinstance(whole, pb.ListLedgerEntriesResponse)
        assert not whole.next_page_token
        assert [entry.id for entry in whole.entries] == [
            *("p0", "p1", "p2", "p3", "p4", "r", "c"),
            bank.lease(0, number=1).id,
            bank.lease(0, number=2).id,
        ]
        kinds = [pb.LedgerEntryKind.Name(entry.kind).removeprefix("LEDGER_ENTRY_KIND_") for entry in whole.entries]
        assert kinds == ["PAYMENT"] * 5 + ["REFUND", "CHARGEBACK", "USAGE", "USAGE"]
        assert [(entry.amount_nanousd, entry.purse, entry.at_ms) for entry in whole.entries[-2:]] == [
            (1, "main", NOW_MS),
            (2, "main", NOW_MS),
        ]
        for size in (1, 2, 3, 4):
            found: list[pb.LedgerEntry] = []
            token = ""
            while True:
                request = pb.ListLedgerEntriesRequest(page_size=size, page_token=token)
                page = await desk.ask(BILLING, request)
                assert isinstance(page, pb.ListLedgerEntriesResponse)
                assert len(page.entries) <= size
                found += page.entries
                token = page.next_page_token
                if not token:
                    break
            assert found == list(whole.entries)
        usage = await desk.ask(OPERATOR, pb.ListLedgerEntriesRequest(organisation=ACCOUNT, kind=pb.LEDGER_ENTRY_KIND_USAGE))
        assert isinstance(usage, pb.ListLedgerEntriesResponse)
        assert list(usage.entries) == list(whole.entries[-2:])

    at_desk(scenario)


@pytest.mark.parametrize("token", ["x", "payment!x", "usage!", "payment!WyJBI09USEVSIiwiUEFZI3AxIl0=", "payment!é", "!"])
def test_page_tokens_of_no_page_are_refused(token: str) -> None:
    """A made-up token would read another organisation's entries, or look like a bug of ours."""

    async def scenario(desk: Desk) -> None:
        request = pb.ListLedgerEntriesRequest(page_token=token, kind=pb.LEDGER_ENTRY_KIND_PAYMENT)
        await refused(desk, ADMIN, request, InvalidFieldError)

    at_desk(scenario)


def test_a_limit_is_set_listed_and_removed() -> None:
    """A limit could not be managed, or the list would not tell how much of it is used."""

    async def scenario(desk: Desk) -> None:
        bank = desk.bank
        await desk.ask(OPERATOR, paid())
        response = await desk.ask(BILLING, bound(50 * DOLLAR, OF_KEY, KEY, WEEK))
        assert isinstance(response, pb.SetLimitResponse)
        period = windows.period(Interval.WEEK, NOW_MS)
        assert response.limit == pb.Limit(
            subject=OF_KEY, subject_id=KEY, interval=WEEK, limit_nanousd=50 * DOLLAR, resets_at_ms=period.end_ms
        )
        await desk.ask(ADMIN, bound(200 * DOLLAR, interval=pb.INTERVAL_ALL))
        found = [windows.limit_of(item) for item in bank.items() if str(item["sk"]).startswith("LIMIT#")]
        assert [limit.id for limit in found] == [f"key.{KEY}.week", "org.all"]
        lease = await bank.leased(10, *found)
        await bank.spent(lease, 0, 4, hold=9)
        await closing.close(bank.table, bank.dice, lease, NOW_MS)
        await bank.leased(5, found[0], number=1)
        listed = await desk.ask(OPERATOR, pb.ListLimitsRequest(organisation=ACCOUNT))
        assert isinstance(listed, pb.ListLimitsResponse)
        assert [(limit.spent_nanousd, limit.leased_nanousd) for limit in listed.limits] == [(4, 5), (4, 0)]
        assert not listed.limits[1].HasField("resets_at_ms")
        response = await desk.ask(ADMIN, bound(3, OF_KEY, KEY, WEEK))
        assert isinstance(response, pb.SetLimitResponse)
        assert (response.limit.limit_nanousd, response.limit.spent_nanousd, response.limit.leased_nanousd) == (3, 4, 5)
        gone = pb.DeleteLimitRequest(subject=OF_KEY, subject_id=KEY, interval=WEEK)
        await desk.ask(ADMIN, gone)
        await refused(desk, ADMIN, gone, ResourceNotFoundError)
        response = await desk.ask(ADMIN, bound(9, OF_KEY, KEY, WEEK))
        assert isinstance(response, pb.SetLimitResponse)
        assert response.limit.spent_nanousd == 4
        listed = await desk.ask(ADMIN, pb.ListLimitsRequest(page_size=1))
        assert isinstance(listed, pb.ListLimitsResponse)
        rest = await desk.ask(ADMIN, pb.ListLimitsRequest(page_size=9, page_token=listed.next_page_token))
        assert isinstance(rest, pb.ListLimitsResponse)
        assert [limit.subject for limit in (*listed.limits, *rest.limits)] == [OF_KEY, ORGANISATION]

    at_desk(scenario)


def test_a_subject_has_two_limits_at_most() -> None:
    """A third one would make every call of the subject fail, as a lease takes eight windows."""

    async def scenario(desk: Desk) -> None:
        for interval in (DAY, WEEK):
            await desk.ask(ADMIN, bound(5, MEMBER, "ada", interval))
        error = await refused(desk, ADMIN, bound(5, MEMBER, "ada", MONTH), BookingRefusedError)
        assert error.metadata == {"booking": "LIMITS_MAX"}
        assert await desk.ask(ADMIN, bound(6, MEMBER, "ada", WEEK))

    at_desk(scenario)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (bound(-1), "limit_nanousd"),
        (bound(10**18 + 1), "limit_nanousd"),
        (bound(1, subject_id="lab"), "subject_id"),
        (bound(1, WORKSPACE), "subject_id"),
        (bound(1, MEMBER, "a.b"), "subject_id"),
        (bound(1, OF_KEY, "a#b"), "subject_id"),
        (bound(1, 0), "subject"),
        (bound(1, 77), "subject"),
        (bound(1, interval=0), "interval"),
        (pb.DeleteLimitRequest(subject=ORGANISATION), "interval"),
        (pb.ListLimitsRequest(page_size=-1), "page_size"),
        (pb.ListLimitsRequest(page_size=1_001), "page_size"),
        (pb.ListLimitsRequest(page_token="x"), "page_token"),
        (pb.ListLedgerEntriesRequest(page_size=1_001), "page_size"),
    ],
)
def test_what_is_no_limit_is_refused(request_: Message, field: str) -> None:
    """A limit would be kept under a name that no call looks for."""

    async def scenario(desk: Desk) -> None:
        error = await refused(desk, ADMIN, request_, InvalidFieldError)
        assert isinstance(error, InvalidFieldError)
        assert [path for path, _ in error.violations] == [field]

    at_desk(scenario)


@pytest.mark.parametrize(
    ("subject", "name", "kind"),
    [
        (WORKSPACE, "nobody", "workspace"),
        (MEMBER, "nobody", "member"),
        (OF_KEY, "0" * 12, "api_key"),
        (OF_KEY, FOREIGN_KEY, "api_key"),
    ],
)
def test_a_limit_is_of_something_that_is_there(subject: int, name: str, kind: str) -> None:
    """A mistyped name would have a limit that binds nobody, or a foreign key be told from none."""

    async def scenario(desk: Desk) -> None:
        error = await refused(desk, ADMIN, bound(1, subject, name), ResourceNotFoundError)
        assert error.metadata == {"resource_type": kind, "resource_name": name}

    at_desk(scenario)


def test_operators_alone_make_and_take_credits() -> None:
    """A management key could credit its own organisation."""

    async def scenario(desk: Desk) -> None:
        for request in (paid(), back(1), claw(1)):
            name = type(request).DESCRIPTOR.name.removesuffix("Request")
            assert desk.methods[name].scopes == {KeyScope.OPERATOR}
            with pytest.raises(ScopeMissingError):
                await desk.methods[name].handle(ADMIN, request)
        others = {name: method.scopes for name, method in desk.methods.items() if KeyScope.MANAGEMENT in method.scopes}
        assert others.keys() == {"GetCredits", "ListLedgerEntries", "SetLimit", "ListLimits", "DeleteLimit"}
        assert not any(KeyScope.COMPLETION in method.scopes for method in desk.methods.values())

    at_desk(scenario)


def test_organisations_do_not_exist_for_each_other() -> None:
    """A management key could read another organisation's money, or learn which organisations there are."""

    async def scenario(desk: Desk) -> None:
        await desk.ask(OPERATOR, paid())
        requests = (
            pb.GetCreditsRequest(organisation=ACCOUNT),
            pb.ListLedgerEntriesRequest(organisation=ACCOUNT),
            pb.ListLimitsRequest(organisation=ACCOUNT),
            pb.SetLimitRequest(organisation=ACCOUNT, subject=ORGANISATION, interval=DAY, limit_nanousd=1),
            pb.DeleteLimitRequest(organisation=ACCOUNT, subject=ORGANISATION, interval=DAY),
        )
        for request in requests:
            error = await refused(desk, STRANGER, request, ResourceNotFoundError)
            assert error.metadata == {"resource_type": "organisation", "resource_name": ACCOUNT}
        missing = await refused(desk, OPERATOR, pb.GetCreditsRequest(organisation="NOBODY"), ResourceNotFoundError)
        assert missing.metadata == {"resource_type": "organisation", "resource_name": "NOBODY"}
        unknown = pb.AddCreditsRequest(organisation="NOBODY", payment_id="p", amount_nanousd=1)
        await refused(desk, OPERATOR, unknown, ResourceNotFoundError)

    at_desk(scenario)


def test_a_plain_member_sees_the_limits_that_bind_him_and_nothing_else() -> None:
    """A member could raise his own limit, or read what others spend."""

    async def scenario(desk: Desk) -> None:
        for request in (bound(9), bound(8, MEMBER, "ada"), bound(7, OF_KEY, KEY), bound(6, WORKSPACE, "lab")):
            await desk.ask(ADMIN, request)
        listed = await desk.ask(ADA, pb.ListLimitsRequest())
        assert isinstance(listed, pb.ListLimitsResponse)
        assert [limit.limit_nanousd for limit in listed.limits] == [7, 8]
        gone = pb.DeleteLimitRequest(subject=MEMBER, subject_id="ada", interval=DAY)
        for refused_ in (pb.GetCreditsRequest(), pb.ListLedgerEntriesRequest(), bound(99, MEMBER, "ada"), gone):
            await refused(desk, ADA, refused_, ScopeMissingError)

    at_desk(scenario)
