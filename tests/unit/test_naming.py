"""By what a request is known again: everything that is asked, and nothing of who asks."""

import msgspec
import pytest

from junctor.domain.completion import CompletionSpec, Message, Role, TextPart
from junctor.domain.routing import RoutingPreferences
from junctor.policy import naming

SPEC = CompletionSpec(model="lab/model", messages=(Message(role=Role.USER, parts=(TextPart("hello"),)),))
PREFERENCES = RoutingPreferences()


def test_the_same_request_is_known_again() -> None:
    """A client's retry would be refused as another request, and never get its answer."""
    again = msgspec.json.decode(msgspec.json.encode(SPEC), type=CompletionSpec)
    assert again is not SPEC
    assert naming.request_hash(again, RoutingPreferences()) == naming.request_hash(SPEC, PREFERENCES)


@pytest.mark.parametrize(
    ("spec", "preferences"),
    [
        (msgspec.structs.replace(SPEC, model="lab/other"), PREFERENCES),
        (msgspec.structs.replace(SPEC, max_tokens=1), PREFERENCES),
        (msgspec.structs.replace(SPEC, stop=("a",)), PREFERENCES),
        (msgspec.structs.replace(SPEC, stop=()), PREFERENCES),
        (msgspec.structs.replace(SPEC, extra="{}"), PREFERENCES),
        (msgspec.structs.replace(SPEC, messages=()), PREFERENCES),
        (SPEC, RoutingPreferences(only=())),
        (SPEC, RoutingPreferences(order=("p",))),
        (SPEC, RoutingPreferences(zdr=True)),
    ],
)
def test_another_request_is_another(spec: CompletionSpec, preferences: RoutingPreferences) -> None:
    """A caller would be told that his question was answered, when it was another one."""
    assert naming.request_hash(spec, preferences) != naming.request_hash(SPEC, PREFERENCES)


def test_names_are_kept_as_digests() -> None:
    """A name of any length or content would become a key of the store."""
    digests = {naming.name_digest(name) for name in ("", "a", "b", "a" * 10_000, "é")}
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {32}
