"""The ledger's invariants (ledger.md), judged on nothing but the items of `core`: it shares no code with what it judges.

`violations` looks at one instant and must be given whole transactions. `steps` compares two instants with at most one write
between, for what a single look cannot tell: that ends are final, and that nothing is leased from a purse that owes or expired.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from junctor.ports.table import Item

FINAL = {"SETTLED", "VOID", "EXPIRED", "SEALED"}

Found = Mapping[str, Any]
"""An item whose types are what the checks find out."""


class Books:
    """Items by family, and then by account and id."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.purses: dict[tuple[str, str], Found] = {}
        self.entries: dict[str, dict[tuple[str, str], Found]] = {kind: {} for kind in ("PAY", "REF", "CLAW", "MOVE")}
        self.limits: dict[tuple[str, str], Found] = {}
        self.windows: dict[tuple[str, str], Found] = {}
        self.leases: dict[tuple[str, str], Found] = {}
        self.slots: dict[tuple[str, str], dict[int, Found]] = defaultdict(dict)
        for item in items:
            self._sort(item, str(item["pk"]), str(item["sk"]))

    def _sort(self, item: Found, partition: str, sort: str) -> None:
        if not partition.startswith("A#"):
            return
        account, *rest = partition.removeprefix("A#").split("#")
        kind, _, name = sort.partition("#")
        if kind == "SLOT":
            self.slots[account, rest[1]][int(name)] = item
        elif kind == "PURSE":
            self.purses[account, name] = item
        elif kind == "LEASE":
            self.leases[account, name] = item
        elif kind == "LIMIT":
            self.limits[account, sort] = item
        elif kind == "WINDOW":
            self.windows[account, sort] = item
        elif kind in self.entries:
            self.entries[kind][account, name] = item

    @property
    def accounts(self) -> set[str]:
        """Return every account of which there is anything."""
        places = [
            *self.purses,
            *self.windows,
            *self.leases,
            *self.slots,
            *(place for kind in self.entries.values() for place in kind),
        ]
        return {account for account, _ in places}


def violations(items: Sequence[Item]) -> list[str]:
    """Return what is wrong with the books at one instant: I1 to I6, I9, I10, I13, I16 and I17, as far as one look can tell."""
    books = Books(items)
    return [*_purses(books), *_credited(books), *_leased_and_spent(books), *_windows(books), *_slots(books), *_closed(books)]


def steps(before: Sequence[Item], after: Sequence[Item]) -> list[str]:
    """Return what one write did that no write may do: I2, I10, I15 and I16, as far as two looks can tell."""
    old, new = Books(before), Books(after)
    return [*_ends(old, new), *_barred(old, new), *_lowered(old, new), *_journal(old, new)]


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


def _purses(books: Books) -> Iterator[str]:
    for place, purse in books.purses.items():
        avail, leased, spent, credited, owed, expired = (
            _number(purse, f"{name}_nanousd") for name in ("avail", "leased", "spent", "credited", "owed", "expired")
        )
        if credited != avail + leased + spent + expired - owed:
            yield f"I1 purse {place}: credited {credited} != {avail} + {leased} + {spent} + {expired} - {owed}"
        if min(avail, leased, spent, owed, expired) < 0:
            yield f"I2 purse {place}: something is below zero: {dict(purse)}"
        if purse.get("state") not in {"OPEN", "EXPIRED"}:
            yield f"I16 purse {place} has no state: {dict(purse)}"
        if expired and purse.get("state") != "EXPIRED":
            yield f"I16 purse {place} was swept while OPEN"


def _credited(books: Books) -> Iterator[str]:
    credited: dict[tuple[str, str], int] = defaultdict(int)
    for (account, _), item in books.entries["PAY"].items():
        credited[account, str(item["purse"])] += _number(item, "amount_nanousd")
    for kind in ("REF", "CLAW"):
        for (account, _), item in books.entries[kind].items():
            credited[account, str(item["purse"])] -= _number(item, "amount_nanousd")
    for (account, _), item in books.entries["MOVE"].items():
        credited[account, str(item["source"])] -= _number(item, "amount_nanousd")
        credited[account, str(item["target"])] += _number(item, "amount_nanousd")
    for place in sorted(books.purses.keys() | credited.keys()):
        found = _number(books.purses.get(place, {}), "credited_nanousd")
        if found != credited[place]:
            yield f"I1 purse {place}: credited {found}, but its entries say {credited[place]}"
    refunded: dict[tuple[str, str], int] = defaultdict(int)
    for (account, _), item in books.entries["REF"].items():
        refunded[account, str(item["payment"])] += _number(item, "amount_nanousd")
    for place, amount in refunded.items():
        if amount > _number(books.entries["PAY"].get(place, {}), "amount_nanousd"):
            yield f"I1 payment {place}: {amount} went back, more than came"


def _leased_and_spent(books: Books) -> Iterator[str]:
    leased: dict[tuple[str, str], int] = defaultdict(int)
    spent: dict[tuple[str, str], int] = defaultdict(int)
    for (account, _), lease in books.leases.items():
        if lease["state"] == "OPEN":
            for name, amount in [*_legs(lease), *((window, _number(lease, "amount_nanousd")) for window in _names(lease))]:
                leased[account, name] += amount
        else:
            for name, amount in [*_parts(lease), *((window, _number(lease, "total_nanousd")) for window in _names(lease))]:
                spent[account, name] += amount
    found = books.purses | books.windows
    for place in sorted(found.keys() | leased.keys() | spent.keys()):
        item = found.get(place, {})
        if _number(item, "leased_nanousd") != leased[place]:
            yield f"I3 {place}: leased {_number(item, 'leased_nanousd')}, but OPEN leases have {leased[place]}"
        if _number(item, "spent_nanousd") != spent[place]:
            yield f"I9 {place}: spent {_number(item, 'spent_nanousd')}, but CLOSED leases say {spent[place]}"


def _windows(books: Books) -> Iterator[str]:
    newest: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for (account, name), window in sorted(books.windows.items()):
        limit, headroom, leased, spent = (
            _number(window, f"{part}_nanousd") for part in ("limit", "headroom", "leased", "spent")
        )
        place = account, f"LIMIT#{name.split('#')[1]}"
        newest[place].append(window)
        if limit != headroom + leased + spent:
            yield f"I2 window {account, name}: limit {limit} != {headroom} + {leased} + {spent}"
        if min(leased, spent) < 0 or (headroom < 0 and not books.limits.get(place, {}).get("change")):
            yield f"I2 window {account, name}: something is below zero: {dict(window)}"
    for place, windows in newest.items():
        wanted = _number(books.limits.get(place, {}), "limit_nanousd")
        for window in windows[-3:]:
            if _number(window, "limit_nanousd") != wanted:
                yield f"I17 window {window['pk']} {window['sk']} has {window.get('limit_nanousd')}, its limit {wanted}"


def _slots(books: Books) -> Iterator[str]:
    for place, slots in books.slots.items():
        lease = books.leases.get(place, {})
        bound = 0
        for number, slot in slots.items():
            state, cost, hold = slot.get("state"), _number(slot, "cost_nanousd"), _number(slot, "hold_nanousd")
            bound += hold if state == "OPEN" else cost
            if state not in FINAL | {"OPEN"} or (cost and state != "SETTLED"):
                yield f"I10 slot {place} {number} is {state} at {cost}"
            if state == "OPEN" and lease.get("state") == "CLOSED":
                yield f"I5 slot {place} {number} is OPEN in a CLOSED lease"
            if cost > hold or cost < 0 or hold < 0:
                yield f"I13 slot {place} {number} costs {cost}, its hold is {hold}"
        if bound > _number(lease, "amount_nanousd"):
            yield f"I4 lease {place}: {bound} are spent or held of {_number(lease, 'amount_nanousd')}"


def _closed(books: Books) -> Iterator[str]:
    for place, lease in books.leases.items():
        amount = _number(lease, "amount_nanousd")
        if sum(part for _, part in _legs(lease)) != amount:
            yield f"I3 lease {place}: its legs are not its amount of {amount}: {_legs(lease)}"
        closed = lease["state"] == "CLOSED"
        if closed is ("open_shard" in lease or "open_until" in lease):
            yield f"I11 lease {place} is {lease['state']}, and the index of OPEN ones says otherwise"
        costs = sum(_number(slot, "cost_nanousd") for slot in books.slots.get(place, {}).values())
        if closed and lease.get("total_nanousd") != costs:
            yield f"I6 lease {place}: total {lease.get('total_nanousd')}, but its slots cost {costs}"
    for account in sorted(books.accounts):
        leases = [lease for (owner, _), lease in books.leases.items() if owner == account]
        if all(lease["state"] == "CLOSED" for lease in leases):
            yield from _at_rest(books, account)


def _at_rest(books: Books, account: str) -> Iterator[str]:
    """Yield what is wrong where no lease is OPEN: nothing is leased, and the purses spent what the generations cost."""
    purses = [purse for (owner, _), purse in books.purses.items() if owner == account]
    costs = sum(
        _number(slot, "cost_nanousd")
        for (owner, _), slots in books.slots.items()
        if owner == account
        for slot in slots.values()
    )
    if sum(_number(purse, "leased_nanousd") for purse in purses):
        yield f"I9 account {account} has money in leases, and no lease is OPEN"
    if sum(_number(purse, "spent_nanousd") for purse in purses) != costs:
        yield f"I9 account {account}: its generations cost {costs}, which its purses did not spend"


def _ends(old: Books, new: Books) -> Iterator[str]:
    for place, slots in old.slots.items():
        for number, slot in slots.items():
            now = new.slots.get(place, {}).get(number)
            if slot.get("state") in FINAL and now != slot:
                yield f"I10 slot {place} {number} had ended as {slot.get('state')} and became {now}"
    for place, lease in old.leases.items():
        if lease["state"] == "CLOSED" and new.leases.get(place) != lease:
            yield f"I10 lease {place} was CLOSED and changed"


def _barred(old: Books, new: Books) -> Iterator[str]:
    barred = {place for place, purse in old.purses.items() if purse["state"] != "OPEN" or _number(purse, "owed_nanousd") > 0}
    for place, lease in new.leases.items():
        before = dict(_legs(old.leases[place])) if place in old.leases else {}
        for name, amount in _legs(lease):
            if (place[0], name) in barred and amount > before.get(name, 0):
                yield f"I16 lease {place} took {amount} from {name}, which owed or was expired"
    for place, purse in old.purses.items():
        if purse["state"] == "EXPIRED" and new.purses.get(place, {}).get("state") != "EXPIRED":
            yield f"I16 purse {place} came back to life"


def _lowered(old: Books, new: Books) -> Iterator[str]:
    for place, window in old.windows.items():
        now = new.windows.get(place, {})
        rose = sum(_number(now, name) - _number(window, name) for name in ("leased_nanousd", "spent_nanousd"))
        if rose > 0 and _number(now, "headroom_nanousd") < 0:
            yield f"I2 window {place} took {rose} more than its limit"


def _journal(old: Books, new: Books) -> Iterator[str]:
    for kind, entries in old.entries.items():
        for place, entry in entries.items():
            now = new.entries[kind].get(place, {})
            if {**entry, "refundable_nanousd": 0} != {**now, "refundable_nanousd": 0}:
                yield f"I15 {kind} {place} was counted and then rewritten"
