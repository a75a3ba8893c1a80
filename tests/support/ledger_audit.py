"""The ledger's invariants (ledger.md), judged on nothing but the items of `core`: it shares no code with what it judges.

`Books` keep running sums over the items that they are given, so that after each write it is enough to judge the places which
it touched; they must be given whole transactions. `violations` judges a whole table from nothing. `steps` compares two instants
with at most one write between, for what a single look cannot tell: that ends are final, and that nothing is leased from a purse
that owes or expired.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from junctor.ports.table import Item

FINAL = {"SETTLED", "VOID", "EXPIRED", "SEALED"}
STATES = FINAL | {"OPEN"}
ENTRIES = ("PAY", "REF", "CLAW", "MOVE")
NOTED = {"statement", "ttl"}
"""What is noted at a CLOSED lease when it is summed."""

Found = Mapping[str, Any]
"""An item whose types are what the checks find out."""

Place: TypeAlias = tuple[str, str]
"""An account and what names an item of it: a purse's, lease's or entry's id, a window's or limit's whole sort key."""

Check: TypeAlias = Callable[[Place], Iterator[str]]


class Books:
    """All items by family and place, and what they add up to."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self._items: dict[Place, Found] = {}
        self._purses: dict[Place, Found] = {}
        self._payments: dict[Place, Found] = {}
        self._limits: dict[Place, Found] = {}
        self._windows: dict[Place, Found] = {}
        self._series: dict[Place, dict[str, Found]] = defaultdict(dict)
        self._leases: dict[Place, Found] = {}
        self._credited: defaultdict[Place, int] = defaultdict(int)
        self._refunded: defaultdict[Place, int] = defaultdict(int)
        self._leased: defaultdict[Place, int] = defaultdict(int)
        self._spent: defaultdict[Place, int] = defaultdict(int)
        self._costs: defaultdict[Place, int] = defaultdict(int)
        self._bound: defaultdict[Place, int] = defaultdict(int)
        self._live: defaultdict[Place, int] = defaultdict(int)
        self._open_leases: defaultdict[str, int] = defaultdict(int)
        self._account_leased: defaultdict[str, int] = defaultdict(int)
        self._account_spent: defaultdict[str, int] = defaultdict(int)
        self._account_costs: defaultdict[str, int] = defaultdict(int)
        self._touched: dict[tuple[str, Place], Check] = {}
        for item in items:
            self.put(item)

    def put(self, item: Item) -> None:
        """Take an item in, in the place of the one of its key."""
        key = str(item["pk"]), str(item["sk"])
        if not key[0].startswith("A#"):
            return
        parts = key[0].split("#")
        account = parts[1]
        kind, _, name = key[1].partition("#")
        old: Found | None = self._items.get(key)
        self._items[key] = item
        if kind == "SLOT":
            self._put_slot((account, parts[3]), key, old, item)
        elif kind == "PURSE":
            self._put_purse((account, name), old, item)
        elif kind == "LEASE":
            self._put_lease((account, name), old, item)
        elif kind == "LIMIT":
            self._limits[account, key[1]] = item
            self._touch("series", (account, key[1]), self._check_series)
        elif kind == "WINDOW":
            self._windows[account, key[1]] = item
            series = account, f"LIMIT#{name.partition('#')[0]}"
            self._series[series][key[1]] = item
            self._touch("window", (account, key[1]), self._check_window)
            self._touch("series", series, self._check_series)
        elif kind in ENTRIES:
            self._put_entry(kind, (account, name), old, item)

    def check(self) -> list[str]:
        """Return what is wrong in all places that were touched since the last time, as far as one look can tell.

        I1 to I6, I9, I10, I13, I16 and I17.
        """
        touched, self._touched = self._touched, {}
        return [breach for (_, place), check in touched.items() for breach in check(place)]

    def _touch(self, what: str, place: Place, check: Check) -> None:
        self._touched[what, place] = check

    def _rest(self, account: str) -> None:
        self._touch("rest", (account, ""), self._check_rest)

    def _put_purse(self, place: Place, old: Found | None, new: Found) -> None:
        self._purses[place] = new
        for item, sign in ((old or {}, -1), (new, 1)):
            self._account_leased[place[0]] += sign * _number(item, "leased_nanousd")
            self._account_spent[place[0]] += sign * _number(item, "spent_nanousd")
        self._touch("purse", place, self._check_purse)
        self._rest(place[0])

    def _put_entry(self, kind: str, place: Place, old: Found | None, new: Found) -> None:
        account = place[0]
        for item, sign in ((old, -1), (new, 1)):
            if item is None:
                continue
            amount = sign * _number(item, "amount_nanousd")
            if kind == "MOVE":
                parts = [(item["target"], amount), (item["source"], -amount)]
            else:
                parts = [(item["purse"], amount if kind == "PAY" else -amount)]
            for purse, credited in parts:
                self._credited[account, purse] += credited
                self._touch("purse", (account, purse), self._check_purse)
            if kind in {"REF", "CLAW"}:
                self._refunded[account, str(item["payment"])] += amount
                self._touch("payment", (account, str(item["payment"])), self._check_payment)
        if kind == "PAY":
            self._payments[place] = new

    def _put_lease(self, place: Place, old: Found | None, new: Found) -> None:
        account = place[0]
        self._leases[place] = new
        for item, sign in ((old, -1), (new, 1)):
            if item is None:
                continue
            is_open = item["state"] == "OPEN"
            self._open_leases[account] += sign * is_open
            sums = self._leased if is_open else self._spent
            whole = _number(item, "amount_nanousd" if is_open else "total_nanousd")
            for purse, amount in _legs(item) if is_open else _parts(item):
                sums[account, purse] += sign * amount
                self._touch("purse", (account, purse), self._check_purse)
            for window in _names(item):
                sums[account, window] += sign * whole
                self._touch("window", (account, window), self._check_window)
        self._touch("lease", place, self._check_lease)
        self._rest(account)

    def _put_slot(self, place: Place, key: Place, old: Found | None, new: Found) -> None:
        cost, bound, live = _weight(new)
        if old is not None:
            cost_before, bound_before, live_before = _weight(old)
            cost, bound, live = cost - cost_before, bound - bound_before, live - live_before
        self._costs[place] += cost
        self._account_costs[place[0]] += cost
        self._bound[place] += bound
        self._live[place] += live
        self._touch("slot", key, self._check_slot)
        self._touch("lease", place, self._check_lease)
        self._rest(place[0])

    def _check_purse(self, place: Place) -> Iterator[str]:
        purse = self._purses.get(place, {})
        avail, leased, spent, credited, owed, expired = (
            _number(purse, f"{name}_nanousd") for name in ("avail", "leased", "spent", "credited", "owed", "expired")
        )
        if credited != avail + leased + spent + expired - owed:
            yield f"I1 purse {place}: credited {credited} != {avail} + {leased} + {spent} + {expired} - {owed}"
        if credited != self._credited[place]:
            yield f"I1 purse {place}: credited {credited}, but its entries say {self._credited[place]}"
        if min(avail, leased, spent, owed, expired) < 0:
            yield f"I2 purse {place}: something is below zero: {dict(purse)}"
        if purse and purse.get("state") not in {"OPEN", "EXPIRED"}:
            yield f"I16 purse {place} has no state: {dict(purse)}"
        if expired and purse.get("state") != "EXPIRED":
            yield f"I16 purse {place} was swept while OPEN"
        yield from self._check_sums(place, purse)

    def _check_sums(self, place: Place, item: Found) -> Iterator[str]:
        if _number(item, "leased_nanousd") != self._leased[place]:
            yield f"I3 {place}: leased {_number(item, 'leased_nanousd')}, but OPEN leases have {self._leased[place]}"
        if _number(item, "spent_nanousd") != self._spent[place]:
            yield f"I9 {place}: spent {_number(item, 'spent_nanousd')}, but CLOSED leases say {self._spent[place]}"

    def _check_payment(self, place: Place) -> Iterator[str]:
        if self._refunded[place] > _number(self._payments.get(place, {}), "amount_nanousd"):
            yield f"I1 payment {place}: {self._refunded[place]} went back, more than came"

    def _check_window(self, place: Place) -> Iterator[str]:
        window = self._windows.get(place, {})
        limit, headroom, leased, spent = (
            _number(window, f"{part}_nanousd") for part in ("limit", "headroom", "leased", "spent")
        )
        if limit != headroom + leased + spent:
            yield f"I2 window {place}: limit {limit} != {headroom} + {leased} + {spent}"
        bound = self._limits.get((place[0], f"LIMIT#{place[1].split('#')[1]}"))
        lowered = bound is None or bound.get("change")  # one that was removed may have been lowered before
        if min(leased, spent) < 0 or (headroom < 0 and not lowered):
            yield f"I2 window {place}: something is below zero: {dict(window)}"
        yield from self._check_sums(place, window)

    def _check_series(self, place: Place) -> Iterator[str]:
        if place not in self._limits:
            return  # it was removed, and binds no more
        wanted = _number(self._limits[place], "limit_nanousd")
        for name, window in sorted(self._series[place].items())[-3:]:
            if _number(window, "limit_nanousd") != wanted:
                yield f"I17 window {place[0]} {name} has {window.get('limit_nanousd')}, its limit {wanted}"

    def _check_lease(self, place: Place) -> Iterator[str]:
        lease = self._leases.get(place, {})
        amount, costs, closed = _number(lease, "amount_nanousd"), self._costs[place], lease.get("state") == "CLOSED"
        if self._bound[place] > amount:
            yield f"I4 lease {place}: {self._bound[place]} are spent or held of {amount}"
        if closed and self._live[place]:
            yield f"I5 lease {place} is CLOSED, and {self._live[place]} of its slots are OPEN"
        if sum(part for _, part in _legs(lease)) != amount:
            yield f"I3 lease {place}: its legs are not its amount of {amount}: {_legs(lease)}"
        if lease and closed is ("open_shard" in lease or "open_until" in lease):
            yield f"I11 lease {place} is {lease['state']}, and the index of OPEN ones says otherwise"
        if closed and lease.get("total_nanousd") != costs:
            yield f"I6 lease {place}: total {lease.get('total_nanousd')}, but its slots cost {costs}"

    def _check_slot(self, key: Place) -> Iterator[str]:
        slot = self._items[key]
        state, cost, hold = slot.get("state"), _number(slot, "cost_nanousd"), _number(slot, "hold_nanousd")
        if state not in STATES or (cost and state != "SETTLED"):
            yield f"I10 slot {key} is {state} at {cost}"
        if cost > hold or cost < 0 or hold < 0:
            yield f"I13 slot {key} costs {cost}, its hold is {hold}"

    def _check_rest(self, place: Place) -> Iterator[str]:
        """Yield what is wrong where no lease is OPEN: nothing is leased, and the purses spent what the generations cost."""
        account = place[0]
        if self._open_leases[account]:
            return
        if self._account_leased[account]:
            yield f"I9 account {account} has money in leases, and no lease is OPEN"
        if self._account_spent[account] != self._account_costs[account]:
            yield f"I9 account {account}: its generations cost {self._account_costs[account]}, which its purses did not spend"


def violations(items: Sequence[Item]) -> list[str]:
    """Return what is wrong with the books at one instant, as far as one look can tell."""
    return Books(items).check()


def steps(before: Sequence[Item], after: Sequence[Item]) -> list[str]:
    """Return what one write did that no write may do: I2, I10, I15 and I16, as far as two looks can tell."""
    old, new = _by_key(before), _by_key(after)
    return step([(old.get(key, {}), new.get(key, {})) for key in {**old, **new}])


def step(touched: Sequence[tuple[Found, Found]]) -> list[str]:
    """Do as `steps`, of what one write touched: each item before and after, empty if there was none."""
    changes = [(_kind(was or now), was, now) for was, now in touched if was != now]
    barred = {
        (purse.get("account"), purse.get("id"))
        for purse, _ in touched
        if purse and _kind(purse) == "PURSE" and (purse["state"] != "OPEN" or _number(purse, "owed_nanousd") > 0)
    }
    found: list[str] = []
    for kind, was, now in changes:
        found += _ends(kind, was, now)
        if kind in {"LEASE", "WINDOW"}:
            found += _takes(kind, was, now, barred)
        elif kind in ENTRIES:
            found += _counts(was, now)
    return found


def _by_key(items: Sequence[Item]) -> dict[Place, Found]:
    return {(str(item["pk"]), str(item["sk"])): item for item in items if str(item["pk"]).startswith("A#")}


def _kind(item: Found) -> str:
    return str(item["sk"]).partition("#")[0]


def _ends(kind: str, was: Found, now: Found) -> Iterator[str]:
    state = was.get("state")
    if kind == "SLOT" and state in FINAL:
        yield f"I10 slot {was['pk']} {was['sk']} had ended as {state} and became {now}"
    if kind == "LEASE" and state == "CLOSED" and _without(was, NOTED) != _without(now, NOTED):
        yield f"I10 lease {was['pk']} {was['sk']} was CLOSED and changed"
    if kind == "PURSE" and state == "EXPIRED" and now.get("state") != "EXPIRED":
        yield f"I16 purse {was['pk']} {was['sk']} came back to life"


def _takes(kind: str, was: Found, now: Found, barred: set[tuple[object, object]]) -> Iterator[str]:
    if kind == "LEASE":
        before = dict(_legs(was))
        for name, amount in _legs(now):
            if (now["account"], name) in barred and amount > before.get(name, 0):
                yield f"I16 lease {now['sk']} took {amount} from {name}, which owed or was expired"
    if kind == "WINDOW" and was:
        rose = sum(_number(now, name) - _number(was, name) for name in ("leased_nanousd", "spent_nanousd"))
        if rose > 0 and _number(now, "headroom_nanousd") < 0:
            yield f"I2 window {was['pk']} {was['sk']} took {rose} more than its limit"


def _counts(was: Found, now: Found) -> Iterator[str]:
    left = {"refundable_nanousd"}
    if was and _without(was, left) != _without(now, left):
        yield f"I15 {was['pk']} {was['sk']} was counted and then rewritten"


def _weight(slot: Found) -> tuple[int, int, int]:
    """Return what a slot costs, what it takes of its lease, and whether it is OPEN."""
    cost = _number(slot, "cost_nanousd")
    if slot.get("state") == "OPEN":
        return cost, _number(slot, "hold_nanousd"), 1
    return cost, cost, 0


def _without(item: Found, names: set[str]) -> Found:
    return {name: value for name, value in item.items() if name not in names}


def _number(item: Found, name: str) -> int:
    value = item.get(name)
    return value if isinstance(value, int) else 0


def _legs(lease: Found) -> list[tuple[str, int]]:
    legs: Any = lease.get("legs") or []
    return [(str(leg["purse"]), int(leg["amount_nanousd"])) for leg in legs]


def _names(lease: Found) -> list[str]:
    windows: Any = lease.get("windows") or []
    return [str(window) for window in windows]


def _parts(lease: Found) -> Iterator[tuple[str, int]]:
    """Yield what a CLOSED lease spent of each purse: the first leg is used up before the second."""
    left = _number(lease, "total_nanousd")
    for purse, amount in _legs(lease):
        part = min(left, amount)
        left -= part
        yield purse, part
