"""Does each control of the security table hold? `poe security` runs the tests behind its rows and prints what they say.

A row has the tests that its subject's issue gave it, wherever they stand; one without is of something that is not built yet.
Tests of this folder belong to a row, every one. All are run together, once.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

ROOT = Path(__file__).parents[2]
RUN = ("-q", "-n", "auto", "--maxprocesses", "8", "--dist", "loadgroup", f"--rootdir={ROOT}")


class Row(Struct, frozen=True):
    """A row of the table: the threat as it is called there, what stands against it, and its tests by how their ids begin."""

    threat: str
    control: str
    tests: tuple[str, ...] = ()


ROWS = (
    Row(
        "key theft from the table",
        "a digest under a pepper is stored, the key is shown once",
        ("tests/security/test_key_theft.py",),
    ),
    Row("timing, enumeration", "always one HMAC and one comparison, one answer", ("tests/security/test_enumeration.py",)),
    Row(
        "stolen key",
        "limits, expiry, rotation, refused within a minute",
        (
            "tests/security/test_enumeration.py::test_a_stolen_secret_that_was_replaced_is_refused_within_a_minute",
            "tests/integration/test_pipeline_keys.py::test_disabled_key_is_refused_after_the_cache_time",
            "tests/integration/test_pipeline_limits.py::test_a_limit_is_used_up_by_what_calls_cost",
        ),
    ),
    Row(
        "account crossing",
        "every key of the table begins with the caller's account",
        ("tests/security/test_account_crossing.py",),
    ),
    Row(
        "injection",
        "placeholders only; what is no key is refused first",
        (
            "tests/contract/test_table.py::test_names_are_never_read_as_expressions",
            "tests/fault/test_fuzz_wire.py::test_whatever_is_sent_ends_as_errors_md_says",
            "tests/security/test_enumeration.py::test_what_is_no_key_is_refused_alike_at_both_gates",
        ),
    ),
    Row(
        "SSRF by URLs that callers supply (BYOK, image URLs)",
        "own endpoints by the operator alone, judged at each connection (callers can supply none yet)",
        ("tests/security/test_private_endpoints.py",),
    ),
    Row(
        "secrets in logs",
        "fields from a list; no text of others",
        ("tests/security/test_canaries.py", "tests/security/test_control_canaries.py"),
    ),
    Row(
        "header injection",
        "a fixed set of headers, values checked",
        (
            "tests/integration/test_transport.py::test_only_our_own_headers_leave",
            "tests/unit/test_failures.py::test_no_header_value_can_end_its_line",
        ),
    ),
    Row(
        "deep or huge input",
        "limits on depth, size and numbers, on both sides",
        (
            "tests/fault/test_fuzz_control.py",
            "tests/fault/test_fuzz_inputs.py",
            "tests/fault/test_fuzz_wire.py",
            "tests/security/test_hostile_answers.py",
        ),
    ),
    Row(
        "decompression bombs, both sides",
        "identity only from providers, and gzip from callers; a message's size is that without compression",
        ("tests/security/test_squeezed.py", "tests/security/test_hostile_upstreams.py::test_every_call_ends_as_it_may"),
    ),
    Row(
        "hostile upstream (endless SSE, 1 GB line, 1 byte/s, bad UTF-8, lying usage)",
        "limits and timers; a cost within its hold",
        ("tests/security/test_hostile_upstreams.py",),
    ),
    Row(
        "HTTP/2 abuse, slow clients",
        "most streams and calls, age of connections, bounded waiting and memory for who does not send or read",
        (
            "tests/fault/test_rapid_resets.py",
            "tests/fault/test_slow_senders.py",
            "tests/integration/test_server_connections.py",
            "tests/integration/test_server_gate.py",
            "tests/integration/test_server_health.py",
        ),
    ),
    Row(
        "cost attack",
        "money is held before a call, rates for each key, no request is read before its key",
        (
            "tests/integration/test_server_gate.py::test_a_request_of_a_stranger_is_not_waited_for",
            "tests/integration/test_pipeline_credits.py::test_no_credits",
            "tests/integration/test_pipeline_limits.py::test_requests_in_a_minute",
            "tests/integration/test_pipeline_limits.py::test_calls_at_one_time",
        ),
    ),
    Row("BYOK secrets", "an envelope for each account, decrypted in one role"),
    Row("broad IAM", "one role for each function, named tables and actions"),
    Row(
        "internal callers",
        "a port and keys of its own for what manages; TLS, and certificates of clients, on both listeners",
        ("tests/security/test_scopes.py", "tests/integration/test_tls.py"),
    ),
    Row(
        "supply chain",
        "requirements pinned with hashes",
        (
            "tests/architecture/test_tidy.py::test_requirements_are_pinned_and_hashed_and_nothing_else",
            "tests/architecture/test_tidy.py::test_what_runs_is_what_was_tested",
        ),
    ),
)


class Results:
    """What became of each test, gathered while they run: a plugin of pytest."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test, which is its worst phase's."""
        if report.when == "call" or report.outcome != "passed":
            known = hasattr(report, "wasxfail") and report.outcome == "skipped"
            self.outcomes[report.nodeid] = "known not to hold" if known else report.outcome

    def of(self, row: Row) -> Counter[str]:
        """Count the outcomes of a row's tests."""
        return Counter(outcome for test, outcome in self.outcomes.items() if test.startswith(row.tests))


def result(row: Row, counted: Counter[str]) -> str:
    """Say whether a row's control holds."""
    if not row.tests:
        return "not built"
    if not counted or set(counted) == {"skipped"}:
        return "NOT TESTED"
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))
    if set(counted) <= {"passed", "skipped"}:
        return f"holds ({told})"
    return f"{'FAILS' if counted['failed'] else 'holds in part'} ({told})"


def lines(results: Results, rows: Sequence[Row] = ROWS) -> Iterator[str]:
    """Write the table for people."""
    for row in rows:
        yield f"{row.threat}\n    {row.control}\n    {result(row, results.of(row))}"


def main() -> int:
    """Run the command; return its exit status: 0 if nothing fails and no row that has tests went without."""
    results = Results()
    code = pytest.main([*RUN, *sorted({test for row in ROWS for test in row.tests})], plugins=[results])
    print(*lines(results), sep="\n")
    untested = sum(result(row, results.of(row)) == "NOT TESTED" for row in ROWS)
    return int(code) or (1 if untested else 0)


if __name__ == "__main__":
    sys.exit(main())
