"""The fuzzed requests to what manages a deployment, and how they may end: every method but RouterService's.

A case is a sound request about a house, varied and broken, with a key of somebody who may call the method, or of somebody else.
It follows from its source of chance and the house. What it may end with is told from the methods' documentation, not from their
code: what is no answer is a caller's mistake, and nothing else.
"""

from random import Random
from typing import Final

from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2
from msgspec import Struct

from junctor.domain.errors import JunctorError
from junctor.doors.rpc.details import rich_status
from tests.fault.fuzz_judge import BAD_FIELD, MESSAGE_MAX_BYTES, NO_KEY, OK, TOO_LARGE, Ending, faults, misfit
from tests.support.control_requests import CALLERS, METHODS, House, path_of, plausible, request_of, sound
from tests.support.control_town import ControlTown
from tests.support.fuzz_messages import FuzzMessages
from tests.support.scopes import allowed

ENTITLED = 0.8
"""Which share of requests comes from somebody who may call the method."""
SLOW, SLOW_KEPT = frozenset({"ListModels", "ListProviders"}), 0.1
"""Lists that take fifty times as long as any other call, and which share of those that fall to them they keep."""
SHARES = (0.0, 0.0, 0.0, 0.2, 0.5)
"""Which shares of a sound request's fields may be given other values."""
FURNISHED, LOOKED = 1 / 400, 1 / 50
"""How often, in process, there is another house, and the catalogue's records are put in force."""

_NO_SCOPE = ("PERMISSION_DENIED", "SCOPE_MISSING")
_NOT_THERE = ("NOT_FOUND", "RESOURCE_NOT_FOUND")
_CHANGED = ("ABORTED", "CHANGED_MEANWHILE")
_ANSWERS: Final = {
    "AccountService": frozenset(
        {
            *(OK, BAD_FIELD, _NO_SCOPE, _NOT_THERE, _CHANGED),
            ("ALREADY_EXISTS", "RESOURCE_EXISTS"),
            ("FAILED_PRECONDITION", "BOOKING_REFUSED"),
        }
    ),
    "CatalogAdminService": frozenset({OK, BAD_FIELD, _NOT_THERE, _CHANGED}),
    "CatalogService": frozenset({OK, BAD_FIELD, ("NOT_FOUND", "MODEL_NOT_FOUND"), ("PERMISSION_DENIED", "MODEL_NOT_ALLOWED")}),
    "UsageService": frozenset({OK, BAD_FIELD, _NO_SCOPE, ("NOT_FOUND", "GENERATION_NOT_FOUND")}),
}


class ControlCase(Struct, frozen=True):
    """One request to a method, and who calls."""

    index: int
    kind: str
    method: str
    caller: str
    body: bytes
    api_key: str

    @property
    def credentials(self) -> str:
        """Return what is wrong with the credentials: nothing ever is."""
        return ""

    @property
    def service(self) -> str:
        """Return the name of the service."""
        return METHODS[self.method].containing_service.name

    @property
    def path(self) -> str:
        """Return the method's path on the wire."""
        return path_of(self.method)

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata with which the caller proves who he is."""
        return (("authorization", f"Bearer {self.api_key}"),)

    def decoded(self) -> Message | None:
        """Return what the decoder makes of the body, None if it refuses it."""
        try:
            return request_of(self.method).FromString(self.body)
        except DecodeError:
            return None


def make_control_case(rng: Random, house: House, index: int = 0) -> ControlCase:
    """Make a request, which has an index where there are many."""
    method = rng.choice(_ALL)
    if method in SLOW and rng.random() > SLOW_KEPT:
        method = rng.choice(_QUICK)
    entitled = [who for who, scope in CALLERS.items() if scope in allowed(METHODS[method].containing_service.name, method)]
    caller = rng.choice(entitled if rng.random() < ENTITLED else list(CALLERS))
    request = sound(house)[method]
    messages = FuzzMessages(rng, plausible(house))
    messages.fill(request, rng.choice(SHARES))
    kind, body = messages.mutated(request) if rng.random() < 0.8 else ("sound", request.SerializeToString())
    return ControlCase(index, kind, method, caller, body, house.keys[caller])


def answered(rng: Random, town: ControlTown) -> str:
    """Have a request answered in process, and return how that ended. Raises AssertionError for what may not be."""
    if rng.random() < FURNISHED or not town.furnished:
        town.run(town.refurnish())
    if rng.random() < LOOKED:
        town.run(town.overlay.look())
    case = make_control_case(rng, town.house)
    if len(case.body) > MESSAGE_MAX_BYTES:
        return f"{case.service}: not read"
    ending = town.run(_ending(case, town))
    bugs = [repr(error) for _, error in town.telemetry.incidents]
    town.telemetry.incidents.clear()
    problem = wrong(case, ending)
    if problem is not None or bugs:
        raise AssertionError(f"{case.method}, {case.caller}, {case.kind} {problem}; {bugs}; {case.body.hex()}")
    return f"{case.service}: {ending.code}"


async def _ending(case: ControlCase, town: ControlTown) -> Ending:
    try:
        (await town.call(case.method, case.body, case.api_key)).SerializeToString()
    except JunctorError as error:
        told = rich_status(error)
        code = str(code_pb2.Code.Name(told.code))
        return Ending(code, error.reason, told.message, trailers=told.ByteSize() * 4 // 3)
    return Ending("OK", whole=True)


def wrong(case: ControlCase, ending: Ending) -> str | None:
    """Say what is wrong with the way in which a request ended, None if nothing is."""
    return misfit(ending, _allowed(case))


def _allowed(case: ControlCase) -> frozenset[tuple[str, str]]:
    # An earlier request may have shut the house; an operator's key it cannot have reached.
    shut = frozenset() if case.caller == "operator" else frozenset({NO_KEY})
    large = frozenset({TOO_LARGE}) if len(case.body) > MESSAGE_MAX_BYTES else frozenset()
    if CALLERS[case.caller] not in allowed(case.service, case.method):
        return shut | large | {_NO_SCOPE}
    if large:
        return shut | large
    request = case.decoded()
    if request is None:
        return shut | {BAD_FIELD}
    answers = _ANSWERS[case.service]
    return shut | (answers - {OK} if any(faults(request)) else answers)


_ALL: Final = tuple(METHODS)
_QUICK: Final = tuple(name for name in METHODS if name not in SLOW)
