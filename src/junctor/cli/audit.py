"""What does `junctor audit` say? For each account what was checked, each difference in plain words, and at the end a verdict.

The exit code is the verdict: 0 the books are right, 1 something is wrong, 2 something could not be read or judged. With
`--json` all of it is one object on standard output and nothing else.
"""

import sys
from collections.abc import Mapping, Sequence

import msgspec

from junctor.bootstrap.audit import run_audit
from junctor.bootstrap.problems import Problem
from junctor.cli.console import Console
from junctor.cli.showing import show_json
from junctor.cli.terminal import shown
from junctor.ledger.auditing.findings import Audited
from junctor.settings import Settings
from junctor.usecases.audit import NOT_JUDGED, Finding, Unread, Verdict, summed_up, verdict

_ENDINGS: Mapping[Verdict, str] = {
    Verdict.RIGHT: "The books are right.",
    Verdict.DIFFERENT: "The books are wrong: see the differences above.",
    Verdict.UNJUDGED: "Not everything could be read or judged: see above.",
}
_NANO = 1_000_000_000


def run_audit_command(settings: Settings, account: str | None, *, as_json: bool) -> int:
    """Audit one account or all, show it, and return the exit code."""
    findings: list[Finding] = []
    console = Console()

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _show(console, finding)

    try:
        run_audit(settings, account, tell)
    except Problem as problem:
        Console(sys.stderr).problem(str(problem))
        return Verdict.UNJUDGED
    result = summed_up({verdict(finding) for finding in findings})
    if as_json:
        report = {"verdict": result.name.lower(), "not_judged": NOT_JUDGED, "accounts": [_as_json(one) for one in findings]}
        show_json(report)
        return result
    console.line()
    console.quiet(f"Not judged: {NOT_JUDGED}.")
    ending = f"{_ENDINGS[result]} {len(findings)} {'account' if len(findings) == 1 else 'accounts'} audited."
    (console.line if result is Verdict.RIGHT else console.problem)(ending)
    return result


def _show(console: Console, finding: Finding) -> None:
    name = shown(finding.account, sys.stdout)
    if isinstance(finding, Unread):
        console.problem(f"Account {name}: {finding.reason}.")
        return
    console.table(f"Account {name}", _rows(finding))
    if finding.overdue:
        console.quiet(f"OPEN leases past their end: {finding.overdue}. A running server closes them.")
    if finding.aged:
        console.quiet(f"Leases so old that slots of theirs may have expired: {finding.aged}. Their totals stand alone.")
    for place in finding.moving:
        console.problem(
            f"{shown(place, sys.stdout)} went on changing and could not be judged in full; audit again when it rests."
        )
    for one in finding.differences:
        console.problem(f"{one.invariant} {shown(one.where, sys.stdout)}: {one.text}.")


def _rows(finding: Audited) -> Sequence[tuple[str, str]]:
    balance = finding.balance
    return [
        ("read", _counted(finding.items)),
        ("judged", _counted(finding.checks)),
        ("credited", _usd(balance.credited_nanousd)),
        ("available", _usd(balance.avail_nanousd)),
        ("in leases", _usd(balance.leased_nanousd)),
        ("spent", _usd(balance.spent_nanousd)),
        *([("owed", _usd(balance.owed_nanousd))] if balance.owed_nanousd else []),
        *([("expired", _usd(balance.expired_nanousd))] if balance.expired_nanousd else []),
        ("differences", str(len(finding.differences))),
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing"


def _usd(nanousd: int) -> str:
    """Write a sum exactly, in US dollars with the nine digits of a nano-USD."""
    whole, rest = divmod(abs(nanousd), _NANO)
    return f"{'-' if nanousd < 0 else ''}${whole}.{rest:09d}"


def _as_json(finding: Finding) -> Mapping[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(finding)
    return {"verdict": verdict(finding).name.lower(), **fields}
