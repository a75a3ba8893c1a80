"""Whoever tries keys learns nothing: each refusal runs one HMAC and one comparison, and says the same, at both gates.

tests/unit/test_admission.py has the keys that are wrong in themselves; here are those that fall with what they belong to, whose
secret has ended, or that a later change took away, and the gate of those who manage.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from junctor.domain.account import KeyScope, MemberRole
from junctor.domain.errors import ApiKeyInvalidError, JunctorError, ScopeMissingError
from junctor.policy import api_keys
from junctor.ports.secrets import Peppers
from junctor.records import keys
from junctor.records.tables import CORE
from junctor.usecases.admit import CACHE_MAX_S
from junctor.usecases.api_keys import ApiKeyChange, NewApiKey
from junctor.usecases.members import MemberChange
from junctor.usecases.organisations import OrganisationChange
from tests.support.stage import OPERATOR, Stage, on_stage

Work = Awaitable[object]
SCOPES = frozenset({KeyScope.COMPLETION, KeyScope.MANAGEMENT})


class Gate:
    """A key of a member and a workspace, and both gates. `account` and `lookup_id` are its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.account = self.lookup_id = self.text = ""

    async def open(self) -> "Gate":
        """Make them."""
        stage = self.stage
        self.account = (await stage.organisations.create("An organisation")).id
        await stage.members.create(OPERATOR, self.account, "ada", "", MemberRole.MEMBER)
        await stage.members.create_workspace(OPERATOR, self.account, "ci", "")
        wanted = NewApiKey(name="k", member="ada", workspace="ci")
        key, self.text = await stage.api_keys.create(OPERATOR, self.account, wanted)
        self.lookup_id = key.lookup_id
        return self

    def change(self, **fields: object) -> Work:
        """Change the key."""
        return self.stage.api_keys.update(OPERATOR, self.account, self.lookup_id, ApiKeyChange(**fields))  # type: ignore[arg-type]

    async def expire(self) -> None:
        """Let the key end now."""
        await self.change(expires_at_ms=self.stage.clock.now_ms() + 1)

    async def vanish(self) -> None:
        """Take the organisation's item away, as nothing of ours does."""
        self.stage.store.put(CORE, keys.account(self.account), None)

    async def forget_peppers(self) -> None:
        """Lose the pepper that the key's digest was made under."""
        self.stage.vault.held = Peppers(3, {3: b"3" * 32})


def _organisation(gate: Gate) -> Work:
    return gate.stage.organisations.update(OPERATOR, gate.account, OrganisationChange(disabled=True))


def _member(gate: Gate) -> Work:
    return gate.stage.members.update(OPERATOR, gate.account, "ada", MemberChange(disabled=True))


CAUSES: dict[str, Callable[[Gate], Work]] = {
    "disabled": lambda gate: gate.change(disabled=True),
    "expired": lambda gate: gate.expire(),
    "deleted": lambda gate: gate.stage.api_keys.delete(OPERATOR, gate.account, gate.lookup_id),
    "secret replaced": lambda gate: gate.stage.api_keys.rotate(OPERATOR, gate.account, gate.lookup_id, 0),
    "secret ended": lambda gate: gate.stage.api_keys.rotate(OPERATOR, gate.account, gate.lookup_id, 30),
    "organisation disabled": _organisation,
    "organisation missing": lambda gate: gate.vanish(),
    "member disabled": _member,
    "member removed": lambda gate: gate.stage.members.delete(OPERATOR, gate.account, "ada"),
    "workspace removed": lambda gate: gate.stage.members.delete_workspace(OPERATOR, gate.account, "ci"),
    "pepper gone": lambda gate: gate.forget_peppers(),
}
TEXTS: dict[str, Callable[[str], str | None]] = {
    "none": lambda _: None,
    "empty": lambda _: "",
    "mistyped": lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
    "unknown": lambda _: api_keys.mint(b"\x01" * 8, b"\x02" * 32),
    "another secret": lambda text: api_keys.remint(text[3:15], b"\x05" * 32),
    "no ascii": lambda text: text[:-1] + "é",
    "not text": lambda text: text[:20] + "\x00" + text[21:],
}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is noted of HMACs and comparisons."""
    done: list[str] = []
    digest, same = api_keys.digest, api_keys.same

    def noted_digest(pepper: bytes, material: bytes) -> bytes:
        done.append("hmac")
        return digest(pepper, material)

    def noted_same(one: bytes, other: bytes) -> bool:
        done.append("compare")
        return same(one, other)

    monkeypatch.setattr(api_keys, "digest", noted_digest)
    monkeypatch.setattr(api_keys, "same", noted_same)
    return done


async def refusal(gate: Gate, text: str | None, *, manages: bool, work: list[str]) -> JunctorError:
    """Return how a text is refused at a gate, after one HMAC and one comparison."""
    admission = gate.stage.admission
    asking: Work = admission.admit_actor(text, SCOPES) if manages else admission.admit(text, KeyScope.COMPLETION)
    work.clear()
    with pytest.raises(JunctorError) as caught:
        await asking
    assert work == ["hmac", "compare"]
    return caught.value


def _told(error: JunctorError) -> tuple[object, ...]:
    return type(error), error.reason, error.message, dict(error.metadata)


@pytest.mark.parametrize("manages", [False, True])
@pytest.mark.parametrize("cause", CAUSES)
def test_a_key_that_fell_is_refused_like_one_that_never_was(cause: str, manages: bool, work: list[str]) -> None:
    """A thief could tell by the answer, or by its time, that his key was good once, and whose it was."""

    async def scenario(stage: Stage) -> None:
        gate = await Gate(stage).open()
        await stage.admission.admit(gate.text, KeyScope.COMPLETION)
        await CAUSES[cause](gate)
        await asyncio.sleep(CACHE_MAX_S)
        for _ in range(2):  # looked up, and remembered
            fallen = await refusal(gate, gate.text, manages=manages, work=work)
            assert _told(fallen) == _told(ApiKeyInvalidError())

    on_stage(scenario)


@pytest.mark.parametrize("manages", [False, True])
@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_key_is_refused_alike_at_both_gates(what: str, manages: bool, work: list[str]) -> None:
    """Trying would tell which ids exist, at the gate of those who manage as well."""

    async def scenario(stage: Stage) -> None:
        gate = await Gate(stage).open()
        for _ in range(2):
            error = await refusal(gate, TEXTS[what](gate.text), manages=manages, work=work)
            assert _told(error) == _told(ApiKeyInvalidError())

    on_stage(scenario)


@pytest.mark.parametrize("manages", [False, True])
def test_the_scope_is_told_only_to_who_has_the_secret(manages: bool, work: list[str]) -> None:
    """Somebody without a secret could learn what kind of key an id is of."""

    async def scenario(stage: Stage) -> None:
        gate = await Gate(stage).open()
        _, operator = await stage.api_keys.create(OPERATOR, "", NewApiKey(name="k", scope=KeyScope.OPERATOR))
        other = api_keys.remint(operator[3:15], b"\x05" * 32)
        assert isinstance(await refusal(gate, other, manages=manages, work=work), ApiKeyInvalidError)
        assert isinstance(await refusal(gate, operator, manages=manages, work=work), ScopeMissingError)

    on_stage(scenario)


def test_a_stolen_secret_that_was_replaced_is_refused_within_a_minute(work: list[str]) -> None:
    """Whoever rotates a key because it leaked would leave the thief in."""

    async def scenario(stage: Stage) -> None:
        gate = await Gate(stage).open()
        await stage.admission.admit(gate.text, KeyScope.COMPLETION)
        _, fresh = await stage.api_keys.rotate(OPERATOR, gate.account, gate.lookup_id, 0)
        await asyncio.sleep(CACHE_MAX_S)
        await refusal(gate, gate.text, manages=False, work=work)
        await stage.admission.admit(fresh, KeyScope.COMPLETION)

    on_stage(scenario)
