"""The control plane's money over a bank: one organisation, those who manage it, and the methods as the door calls them."""

from google.protobuf.message import Message

from junctor.domain.account import Account, Actor, ApiKey, KeyScope, Member, MemberRole, Workspace
from junctor.doors.rpc import credits as rpc
from junctor.ports.table import Item, PutNew
from junctor.records import accounts
from junctor.usecases.credits import Credits
from junctor.usecases.entries import Entries
from junctor.usecases.limits import Limits
from tests.support.bank import ACCOUNT, NOW_MS, Bank
from tests.support.world import LoopClock

OPERATOR = Actor("", "operator", KeyScope.OPERATOR)
ADMIN = Actor(ACCOUNT, "admin", KeyScope.MANAGEMENT)
BILLING = Actor(ACCOUNT, "billing", KeyScope.MANAGEMENT, MemberRole.BILLING, "bill")
ADA = Actor(ACCOUNT, "ada", KeyScope.MANAGEMENT, MemberRole.MEMBER, "ada")
STRANGER = Actor("OTHER", "stranger", KeyScope.MANAGEMENT)
FEE_PPM = 50_000
KEY, FOREIGN_KEY = "0123456789ab", "0123456789cd"


class Desk:
    """An organisation with a member, a workspace and an API key, and another one's key."""

    def __init__(self, bank: Bank, *, fee_ppm: int = FEE_PPM) -> None:
        self.bank = bank
        self.clock = LoopClock()
        self.credits = Credits(bank.table, self.clock, bank.dice, fee_ppm=fee_ppm)
        self.entries = Entries(bank.table, bank.dice)
        self.limits = Limits(bank.table, self.clock, bank.dice)
        self.methods = rpc.methods(self.credits, self.entries, self.limits)

    async def open(self) -> "Desk":
        """Write the organisation and what belongs to it."""
        key = ApiKey(lookup_id=KEY, account=ACCOUNT, name="", secrets=(), created_at_ms=NOW_MS, member="ada")
        foreign = ApiKey(lookup_id=FOREIGN_KEY, account="OTHER", name="", secrets=(), created_at_ms=NOW_MS)
        member = Member(account=ACCOUNT, id="ada", name="Ada", role=MemberRole.MEMBER, created_at_ms=NOW_MS)
        workspace = Workspace(account=ACCOUNT, id="lab", name="Lab", created_at_ms=NOW_MS)
        items: list[Item] = [accounts.member_item(member), accounts.workspace_item(workspace)]
        items += [accounts.account_item(Account(id=name, name=name, created_at_ms=NOW_MS)) for name in (ACCOUNT, "OTHER")]
        for one in (key, foreign):
            items += [write.item for write in accounts.new_api_key(one) if isinstance(write, PutNew)]
        for item in items:
            await self.bank.table.put_new(item)
        return self

    async def ask(self, actor: Actor, request: Message) -> Message:
        """Answer a request as the door does, once it knows who asks."""
        method = self.methods[type(request).DESCRIPTOR.name.removesuffix("Request")]
        assert isinstance(request, method.request)
        assert actor.scope in method.scopes, f"{actor.scope} may not call this"
        return await method.handle(actor, request)
