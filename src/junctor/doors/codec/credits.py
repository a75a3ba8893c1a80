"""Credits, entries and limits between proto and domain. Reading raises InvalidFieldError with all that is wrong.

A fee of the whole is refused: nothing would be credited. An absent fee is the deployment's, which differs from none.
"""

import re
from collections.abc import Mapping, Sequence

from junctor.domain.credits import Clawback, Interval, LimitSubject, Move, Payment, Purse, Refund
from junctor.domain.money import NanoUsd
from junctor.doors.codec import forms
from junctor.doors.codec.account import INTERVALS
from junctor.doors.codec.checks import Checks, Limits
from junctor.usecases.credits import AMOUNT_MAX_NANOUSD, FEE_WHOLE_PPM, Balance, Deposit, Return
from junctor.usecases.entries import EntryKind, Listed
from junctor.usecases.limits import LIMIT_MAX_NANOUSD, LimitName, LimitState
from junctor.v1 import account_service_pb2 as pb

_OUTSIDE_ID = re.compile(r"[A-Za-z0-9._:/-]{1,100}", re.ASCII)
_INTERVAL_VALUES = {interval: pb.Interval.Value(f"INTERVAL_{interval.name}") for interval in Interval}
_SUBJECT_VALUES = {subject: pb.LimitSubject.Value(f"LIMIT_SUBJECT_{subject.name}") for subject in LimitSubject}
_KIND_VALUES = {kind: pb.LedgerEntryKind.Value(f"LEDGER_ENTRY_KIND_{kind.name}") for kind in EntryKind}
_SUBJECTS: Mapping[int, LimitSubject] = {value: subject for subject, value in _SUBJECT_VALUES.items()}
_KINDS: Mapping[int, EntryKind] = {value: kind for kind, value in _KIND_VALUES.items()}


def deposit(request: pb.AddCreditsRequest) -> Deposit:
    """Read a payment that is to be credited."""
    checks = _checks(request.organisation)
    _outside_id(request.payment_id, checks, "payment_id")
    checks.number(request.amount_nanousd, 1, AMOUNT_MAX_NANOUSD, "amount_nanousd")
    checks.number(request.fee_ppm, 0, FEE_WHOLE_PPM - 1, "fee_ppm")
    if request.HasField("expires_at_ms"):
        forms.instant(request.expires_at_ms, "expires_at_ms", checks)
    checks.done()
    return Deposit(
        id=request.payment_id,
        amount_nanousd=request.amount_nanousd,
        fee_ppm=request.fee_ppm if request.HasField("fee_ppm") else None,
        expires_at_ms=request.expires_at_ms if request.HasField("expires_at_ms") else None,
    )


def refund(request: pb.RefundCreditsRequest) -> Return:
    """Read what is to go back of a payment."""
    return _return(request, request.refund_id, "refund_id")


def chargeback(request: pb.ChargeBackCreditsRequest) -> Return:
    """Read what was taken back of a payment."""
    return _return(request, request.chargeback_id, "chargeback_id")


def entries_page(request: pb.ListLedgerEntriesRequest) -> tuple[EntryKind | None, int, str]:
    """Read which entries are wanted, None for all, how many, and from where."""
    checks = _checks(request.organisation)
    kind = checks.member(request.kind, _KINDS, "kind") if request.kind else None
    page = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
    checks.done()
    return kind, *page


def limits_page(request: pb.ListLimitsRequest) -> tuple[int, str]:
    """Read how many limits are wanted, and from where."""
    checks = _checks(request.organisation)
    page = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
    checks.done()
    return page


def limit_name(request: pb.SetLimitRequest | pb.DeleteLimitRequest) -> LimitName:
    """Read which limit is meant, and judge how high it shall be."""
    checks = _checks(request.organisation)
    subject = checks.member(request.subject, _SUBJECTS, "subject")
    interval = checks.member(request.interval, INTERVALS, "interval")
    match subject:
        case LimitSubject.ORGANISATION if request.subject_id:
            checks.wrong("subject_id", "is for a workspace, member or API key; the organisation is named as organisation")
        case LimitSubject.WORKSPACE | LimitSubject.MEMBER | LimitSubject.API_KEY:
            forms.identifier(request.subject_id, "subject_id", checks)
    if isinstance(request, pb.SetLimitRequest):
        checks.number(request.limit_nanousd, 0, LIMIT_MAX_NANOUSD, "limit_nanousd")
    checks.done()
    assert subject is not None  # noqa: S101 - `done` has raised otherwise
    assert interval is not None  # noqa: S101 - the same
    return LimitName(subject, request.subject_id, interval)


def organisation(request: pb.GetCreditsRequest) -> str:
    """Read which organisation is meant, where nothing else is asked."""
    _checks(request.organisation).done()
    return request.organisation


def entry(listed: Listed) -> pb.LedgerEntry:
    """Write an entry."""
    match listed:
        case Payment():
            kind, purse = EntryKind.PAYMENT, listed.purse
        case Refund():
            kind, purse = EntryKind.REFUND, listed.purse
        case Clawback():
            kind, purse = EntryKind.CHARGEBACK, listed.purse
        case Move():
            kind, purse = EntryKind.MOVE, listed.source
        case _:
            kind, purse = EntryKind.USAGE, listed.purse
    return pb.LedgerEntry(
        kind=_KIND_VALUES[kind],
        id=listed.id,
        at_ms=listed.at_ms,
        amount_nanousd=listed.amount_nanousd,
        purse=purse,
        target_purse=listed.target if isinstance(listed, Move) else "",
        payment_id=listed.payment if isinstance(listed, Refund | Clawback) else "",
        fee_nanousd=listed.fee_nanousd if isinstance(listed, Payment) else 0,
    )


def add_credits_response(booked: Payment, available: NanoUsd) -> pb.AddCreditsResponse:
    """Write the answer to a payment."""
    return pb.AddCreditsResponse(entry=entry(booked), available_nanousd=available)


def get_credits_response(balance: Balance) -> pb.GetCreditsResponse:
    """Write a balance: what may be spent, the sums over all purses, and the purses."""
    purses = balance.purses
    return pb.GetCreditsResponse(
        available_nanousd=balance.available_nanousd,
        leased_nanousd=sum(purse.leased_nanousd for purse in purses),
        spent_nanousd=sum(purse.spent_nanousd for purse in purses),
        credited_nanousd=sum(purse.credited_nanousd for purse in purses),
        owed_nanousd=sum(purse.owed_nanousd for purse in purses),
        expired_nanousd=sum(purse.expired_nanousd for purse in purses),
        purses=map(_purse, purses),
    )


def list_entries_response(found: Sequence[Listed], following: str) -> pb.ListLedgerEntriesResponse:
    """Write a page of entries."""
    return pb.ListLedgerEntriesResponse(entries=map(entry, found), next_page_token=following)


def limit(state: LimitState) -> pb.Limit:
    """Write a limit."""
    return pb.Limit(
        subject=_SUBJECT_VALUES[state.limit.subject],
        subject_id=state.limit.subject_id,
        interval=_INTERVAL_VALUES[state.limit.interval],
        limit_nanousd=state.limit.limit_nanousd,
        spent_nanousd=state.spent_nanousd,
        leased_nanousd=state.leased_nanousd,
        resets_at_ms=state.resets_at_ms,
    )


def list_limits_response(found: Sequence[LimitState], following: str) -> pb.ListLimitsResponse:
    """Write a page of limits."""
    return pb.ListLimitsResponse(limits=map(limit, found), next_page_token=following)


def _return(request: pb.RefundCreditsRequest | pb.ChargeBackCreditsRequest, outside_id: str, path: str) -> Return:
    checks = _checks(request.organisation)
    _outside_id(outside_id, checks, path)
    _outside_id(request.payment_id, checks, "payment_id")
    checks.number(request.amount_nanousd, 1, AMOUNT_MAX_NANOUSD, "amount_nanousd")
    checks.done()
    return Return(id=outside_id, payment_id=request.payment_id, amount_nanousd=request.amount_nanousd)


def _checks(organisation_id: str) -> Checks:
    """Begin to check a request that is about an organisation."""
    checks = Checks(Limits())
    forms.organisation(organisation_id, checks)
    return checks


def _outside_id(value: str, checks: Checks, path: str) -> None:
    if not _OUTSIDE_ID.fullmatch(value):
        checks.wrong(path, "is not 1 to 100 of A-Z, a-z, 0-9 and ._:/-")


def _purse(purse: Purse) -> pb.Purse:
    return pb.Purse(
        id=purse.id,
        available_nanousd=purse.avail_nanousd,
        leased_nanousd=purse.leased_nanousd,
        spent_nanousd=purse.spent_nanousd,
        credited_nanousd=purse.credited_nanousd,
        owed_nanousd=purse.owed_nanousd,
        expired_nanousd=purse.expired_nanousd,
        expires_at_ms=purse.expires_at_ms,
    )
