"""Two organisations and every RPC that takes an id: what one of them learns of the other by asking. It must be nothing.

Requests go in as bytes and with an API key, through all that stands behind a door. Each names in one field a real id of the
other organisation, one beside it, or a made-up one of the same form; the three must be answered alike, and no item of the other
organisation may be read or written. An API key's own record lies under its public part, as its account is not known before it
is read: that one is looked at, and nothing of it told.

`python -m tests.security.crossing [attempts]` tries 100,000.
"""

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from google.protobuf.message import Message
from msgspec import Struct

from junctor.adapters.tables.simulated import SimulatedStore, SimulatedTable
from junctor.domain.account import KeyScope, MemberRole
from junctor.domain.credits import Interval, LimitSubject
from junctor.domain.errors import JunctorError
from junctor.doors.rpc import usage
from junctor.doors.rpc.control import ControlRpc
from junctor.ports.table import Change, Condition, Done, Found, Item, Key, Operation, Page, PutNew, Query, Refused, TableSpec
from junctor.records import keys
from junctor.records.tables import CORE
from junctor.usecases.admit import Admission
from junctor.usecases.api_keys import ApiKeys, NewApiKey
from junctor.usecases.credits import Credits, Deposit
from junctor.usecases.generations import Generations
from junctor.usecases.limits import LimitName, Limits
from junctor.usecases.members import Members
from junctor.usecases.organisations import Organisations
from junctor.usecases.services import Services
from junctor.usecases.trail import Trail
from junctor.v1 import account_service_pb2 as pb
from junctor.v1 import usage_service_pb2 as usage_pb
from tests.support.control_plane import all_methods
from tests.support.doors import at_hand
from tests.support.slots import put_settled
from tests.support.stage import OPERATOR, Vault
from tests.support.virtual_loop import TimersLoop, run_virtual
from tests.support.world import LoopClock, NotedTelemetry, SeededDice

ATTEMPTS = 100_000
LOWER, UPPER = "0123456789abcdefghjkmnpqrstvwxyz", "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ADMIN, MEMBER, USER = "an administrator's key", "a plain member's key", "a completion key"


class NotedStore(SimulatedStore):
    """A store that notes the partition of every item that its tables are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions: list[str] = []

    def table(self, spec: TableSpec) -> "NotedTable":
        """Return the table made from this spec."""
        return NotedTable(self, spec)


class NotedTable(SimulatedTable):
    """A table of such a store."""

    def __init__(self, store: NotedStore, spec: TableSpec) -> None:
        super().__init__(store, spec)
        self._partitions = store.partitions

    async def get(self, key: Key, *, consistent: bool = True) -> Found:
        """Read one item."""
        self._partitions.append(key.partition)
        return await super().get(key, consistent=consistent)

    async def query(self, query: Query) -> Page:
        """Read one page."""
        self._partitions.append(query.partition)
        return await super().query(query)

    async def batch_get(self, keys: Sequence[Key]) -> Page:
        """Read many items."""
        self._partitions.extend(key.partition for key in keys)
        return await super().batch_get(keys)

    async def put_new(self, item: Item) -> Done | Refused:
        """Write an item."""
        self._partitions.append(str(item["pk"]))
        return await super().put_new(item)

    async def update(
        self, key: Key, conditions: Sequence[Condition], changes: Sequence[Change], *, returning: bool = True
    ) -> Done | Refused:
        """Change an item."""
        self._partitions.append(key.partition)
        return await super().update(key, conditions, changes, returning=returning)

    async def transact(self, operations: Sequence[Operation], token: str) -> Done | Refused:
        """Apply all operations, or none."""
        self._partitions.extend(str(one.item["pk"]) if isinstance(one, PutNew) else one.key.partition for one in operations)
        return await super().transact(operations, token)


class Owned(Struct, frozen=True):
    """The ids of one organisation, by the field of a request that takes them."""

    organisation: str
    api_key: str
    member: str
    workspace: str
    payment_id: str
    generation_id: str


class Case(Struct, frozen=True):
    """A request that is sound but for one field, which takes an id of a kind."""

    method: str
    request: Message
    field: str
    kind: str


class Crossed(Struct, frozen=True):
    """What came of it. `answers` are how many ways there were to answer each case and caller; `touched` items of the other."""

    attempts: int
    touched: tuple[str, ...]
    answers: Mapping[tuple[str, str, str, str], frozenset[str]]
    leaks: tuple[str, ...]
    changed: bool


class Town:
    """Both organisations, ONE that asks and TWO that is asked about, and the services."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = NotedStore()
        self.clock, self.dice = LoopClock(), SeededDice(seed)
        self._plain = SimulatedTable(self.store, CORE)
        admission = Admission(self._plain, Vault(), self.clock, self.dice)
        trails = partial(Trail, cast("Services", self))
        self.telemetry = NotedTelemetry()
        self.account = ControlRpc(admission, all_methods(self.store, self.clock), trails)
        self.usage = ControlRpc(admission, usage.methods(Generations(self.store.table(CORE), self.dice)), trails)
        self.keys: dict[str, str] = {}

    async def furnish(self) -> tuple[Owned, Owned]:
        """Make both organisations alike."""
        await self.store.create([CORE])
        return await self._organisation(with_keys=True), await self._organisation(with_keys=False)

    async def ask(self, caller: str, method: str, request: Message) -> Message | JunctorError:
        """Ask as the door does."""
        rpc = (
            self.usage if isinstance(request, usage_pb.GetGenerationRequest | usage_pb.ListGenerationsRequest) else self.account
        )
        self.telemetry.lines.clear()
        try:
            return await rpc.call(method, at_hand(request.SerializeToString()), self.keys[caller], None)
        except JunctorError as error:
            return error

    async def _organisation(self, *, with_keys: bool) -> Owned:
        table, clock, dice, vault = self._plain, self.clock, self.dice, Vault()
        members, api_keys = Members(table, clock, dice), ApiKeys(table, vault, clock, dice)
        account = (await Organisations(table, clock, dice).create("An organisation")).id
        member, workspace, payment = (self.text(LOWER, 10) for _ in range(3))
        await members.create(OPERATOR, account, member, "", MemberRole.MEMBER)
        await members.create_workspace(OPERATOR, account, workspace, "")
        wanted = NewApiKey(name="k", member=member, workspace=workspace)
        key, text = await api_keys.create(OPERATOR, account, wanted)
        if with_keys:
            self.keys[USER] = text
            for caller, whose in ((ADMIN, None), (MEMBER, member)):
                _, self.keys[caller] = await api_keys.create(
                    OPERATOR, account, NewApiKey(name="m", scope=KeyScope.MANAGEMENT, member=whose)
                )
        for subject, of in (
            (LimitSubject.MEMBER, member),
            (LimitSubject.WORKSPACE, workspace),
            (LimitSubject.API_KEY, key.lookup_id),
        ):
            await Limits(table, clock, dice).set(OPERATOR, account, LimitName(subject, of, Interval.DAY), 10)
        await Credits(table, clock, dice, fee_ppm=0).add(OPERATOR, account, Deposit(id=payment, amount_nanousd=10**9))
        generation = await put_settled(self._plain, account, key.lookup_id, clock.now_ms(), dice)
        return Owned(account, key.lookup_id, member, workspace, payment, generation)

    def text(self, alphabet: str, count: int) -> str:
        """Return so many random characters."""
        return "".join(self.random.choices(alphabet, k=count))

    def forged(self, kind: str, theirs: Owned) -> str:
        """Return an id of a kind: a real one of theirs, one beside it, or a made-up one."""
        real: str = getattr(theirs, kind)
        match self.random.randrange(3):
            case 0:
                return real
            case 1:
                alphabet = LOWER if real.islower() and kind != "generation_id" else UPPER
                place = self.random.randrange(5, min(len(real), 30))
                return real[:place] + self.random.choice(alphabet) + real[place + 1 :]
            case _:
                return self._made_up(kind, len(real))

    def _made_up(self, kind: str, count: int) -> str:
        if kind == "generation_id":
            return f"gen-0{self.text(UPPER, 25)}-{self.random.randrange(10**6):06d}"
        return f"0{self.text(UPPER, count - 1)}" if kind == "organisation" else self.text(LOWER, count)


def cases(own: Owned) -> list[Case]:
    """Return every field of every RPC that takes an id, each in a request that is sound otherwise."""
    about = {"member": own.member, "workspace": own.workspace, "api_key": own.api_key}
    requests: list[Message] = [
        pb.GetOrganisationRequest(),
        pb.UpdateOrganisationRequest(name="n"),
        pb.CreateMemberRequest(member="new", role=pb.MEMBER_ROLE_MEMBER),
        pb.ListMembersRequest(),
        pb.UpdateMemberRequest(member=own.member, name="n"),
        pb.DeleteMemberRequest(member=own.member),
        pb.CreateWorkspaceRequest(workspace="new"),
        pb.ListWorkspacesRequest(),
        pb.UpdateWorkspaceRequest(workspace=own.workspace, name="n"),
        pb.DeleteWorkspaceRequest(workspace=own.workspace),
        pb.CreateApiKeyRequest(name="k", scope=pb.API_KEY_SCOPE_COMPLETION, member=own.member, workspace=own.workspace),
        pb.GetApiKeyRequest(api_key=own.api_key),
        pb.ListApiKeysRequest(),
        pb.UpdateApiKeyRequest(api_key=own.api_key, member=own.member, workspace=own.workspace),
        pb.RotateApiKeyRequest(api_key=own.api_key),
        pb.DeleteApiKeyRequest(api_key=own.api_key),
        pb.ListLimitsRequest(),
        pb.AddCreditsRequest(payment_id="p", amount_nanousd=10**6),
        pb.RefundCreditsRequest(payment_id=own.payment_id, refund_id="r", amount_nanousd=1),
        pb.ChargeBackCreditsRequest(payment_id=own.payment_id, chargeback_id="c", amount_nanousd=1),
        pb.GetCreditsRequest(),
        pb.ListLedgerEntriesRequest(),
        usage_pb.GetGenerationRequest(generation_id=own.generation_id),
        usage_pb.ListGenerationsRequest(api_key=own.api_key),
    ]
    for kind, subject in (
        ("member", pb.LIMIT_SUBJECT_MEMBER),
        ("workspace", pb.LIMIT_SUBJECT_WORKSPACE),
        ("api_key", pb.LIMIT_SUBJECT_API_KEY),
    ):
        bound = {"subject": subject, "subject_id": about[kind], "interval": pb.INTERVAL_DAY}
        requests += [pb.SetLimitRequest(limit_nanousd=10, **bound), pb.DeleteLimitRequest(**bound)]  # type: ignore[arg-type]
    return [case for request in requests for case in _fields(request, own)]


def cross(attempts: int, seed: int = 0) -> Crossed:
    """Ask so many times about the other organisation."""

    async def main() -> Crossed:
        town = Town(seed)
        own, theirs = await town.furnish()
        before = _items_of(town.store, theirs)
        answers: defaultdict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        touched: list[str] = []
        leaks: list[str] = []
        asked = cases(own)
        for attempt in range(attempts):
            case = asked[attempt % len(asked)]
            callers = (
                (ADMIN, MEMBER, USER) if case.request.DESCRIPTOR.file.name.endswith("usage_service.proto") else (ADMIN, MEMBER)
            )
            caller = callers[attempt // len(asked) % len(callers)]
            wanted = town.forged(case.kind, theirs)
            request = _copy(case.request)
            setattr(request, case.field, wanted)
            town.store.partitions.clear()
            answer = _told(await town.ask(caller, case.method, request), wanted)
            touched += [name for name in town.store.partitions if name.startswith(keys.account(theirs.organisation).partition)]
            answers[case.method, case.field, case.kind, caller].add(answer)
            leaks += [held for held in theirs.__struct_fields__ if getattr(theirs, held) in answer]
        changed = _items_of(town.store, theirs) != before
        return Crossed(
            attempts, tuple(touched), {case: frozenset(told) for case, told in answers.items()}, tuple(leaks), changed
        )

    return run_virtual(main(), TimersLoop)


def _fields(request: Message, own: Owned) -> list[Case]:
    """Return a request's cases, one for each field that takes an id which somebody else may have."""
    method = type(request).__name__.removesuffix("Request")
    found = []
    for field in request.DESCRIPTOR.fields:
        kind = field.name
        if field.name == "subject_id":
            kind = next(
                name for name in ("member", "workspace", "api_key") if getattr(own, name) == getattr(request, field.name)
            )
        if kind in Owned.__struct_fields__ and not (
            method.startswith("Create") and kind == method.removeprefix("Create").lower()
        ):
            found.append(Case(method, request, field.name, kind))
    return found


def _copy(request: Message) -> Message:
    copied = type(request)()
    copied.CopyFrom(request)
    return copied


def _told(answer: Message | JunctorError, asked: str) -> str:
    """Write down an answer without the id that was asked for."""
    if isinstance(answer, JunctorError):
        metadata = sorted((name, value) for name, value in answer.metadata.items())
        text = repr((type(answer).__name__, answer.reason, answer.message, metadata, getattr(answer, "violations", ())))
    else:
        text = f"{type(answer).__name__} {answer}"
    return text.replace(asked, "ID")


def _items_of(store: SimulatedStore, owned: Owned) -> list[Item]:
    place = keys.account(owned.organisation).partition
    return [item for item in store.items(CORE) if str(item["pk"]).startswith(place) or item["pk"] == f"KEY#{owned.api_key}"]


def main(say: Callable[[str], None] = print) -> int:
    """Try, print what was found, and return how many answers and reads were wrong."""
    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else ATTEMPTS
    found = cross(attempts)
    told = [case for case, answers in found.answers.items() if len(answers) > 1]
    say(f"{found.attempts:,} requests over {len({case[0] for case in found.answers})} methods, {len(found.answers)} cases")
    say(f"{len(found.touched)} items of the other organisation read or written, {len(told)} cases with answers that differ")
    for case in told:
        say(f"  {case}: {sorted(found.answers[case])}")
    say(f"items changed: {found.changed}; ids told: {dict(Counter(found.leaks))}")
    return len(told) + len(found.touched) + len(found.leaks) + found.changed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
