"""A generation as a message: nothing of it is lost, and what is not known yet differs from nought."""

import msgspec
import pytest

from junctor.domain.completion import FinishReason
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.doors.codec import generations as codec
from junctor.v1 import completion_pb2
from junctor.v1 import usage_service_pb2 as pb

OPEN = Generation(
    id="gen-1",
    slot=Slot("ONE", "LEASE", 3),
    state=SlotState.OPEN,
    api_key="KEY",
    requested_model="lab/asked",
    started_at_ms=11,
    deadline_at_ms=12,
)
SETTLED = msgspec.structs.replace(
    OPEN,
    state=SlotState.SETTLED,
    streamed=True,
    hold_nanousd=21,
    cost_nanousd=20,
    model="lab/model",
    provider="p",
    endpoint="p/lab/model",
    price_version="7",
    upstream_id="up-1",
    input_tokens=31,
    output_tokens=32,
    cache_read_tokens=33,
    cache_write_tokens=34,
    reasoning_tokens=35,
    audio_input_tokens=36,
    audio_output_tokens=37,
    accepted_prediction_tokens=38,
    rejected_prediction_tokens=39,
    estimated=True,
    finish_reason="length",
    time_to_first_token_ms=41,
    ended_at_ms=42,
)
INSIDE = {"slot", "deadline_at_ms"}
"""What stays inside: the slot is what the id says, and the deadline was the caller's own."""

OTHER: dict[type, object] = {str: "other", int: 99, bool: False, SlotState: SlotState.EXPIRED}


def test_every_field_arrives() -> None:
    """A record would show another's figures, or a new field never leave the store."""
    assert codec.generation(SETTLED) == pb.Generation(
        id="gen-1",
        state=pb.GENERATION_STATE_SETTLED,
        api_key="KEY",
        requested_model="lab/asked",
        model="lab/model",
        provider="p",
        endpoint="p/lab/model",
        started_at_ms=11,
        ended_at_ms=42,
        streamed=True,
        usage=completion_pb2.Usage(
            input_tokens=31,
            output_tokens=32,
            cache_read_tokens=33,
            cache_write_tokens=34,
            reasoning_tokens=35,
            audio_input_tokens=36,
            audio_output_tokens=37,
            accepted_prediction_tokens=38,
            rejected_prediction_tokens=39,
            estimated=True,
        ),
        cost_nanousd=20,
        hold_nanousd=21,
        price_version="7",
        upstream_id="up-1",
        finish_reason=completion_pb2.FINISH_REASON_LENGTH,
        time_to_first_token_ms=41,
    )


@pytest.mark.parametrize("name", [name for name in Generation.__struct_fields__ if name not in INSIDE])
def test_no_field_of_the_noun_is_left_behind(name: str) -> None:
    """A field that is added to the record would silently not be shown to anybody."""
    other: object = "stop" if name == "finish_reason" else OTHER[type(getattr(SETTLED, name))]
    changed = msgspec.structs.replace(SETTLED, **{name: other})
    assert codec.generation(changed) != codec.generation(SETTLED)


def test_no_field_of_the_message_is_left_empty() -> None:
    """A field that the API promises would never be set."""
    written = codec.generation(SETTLED)
    assert {field.name for field, _ in written.ListFields()} == {field.name for field in pb.Generation.DESCRIPTOR.fields}
    assert {field.name for field, _ in written.usage.ListFields()} == set(completion_pb2.Usage.DESCRIPTOR.fields_by_name)


def test_what_is_not_known_yet_is_absent() -> None:
    """A generation under way would look like one that cost nothing and ended in 1970."""
    written = codec.generation(OPEN)
    assert not any(written.HasField(name) for name in ("cost_nanousd", "ended_at_ms", "time_to_first_token_ms"))
    assert written.finish_reason == completion_pb2.FINISH_REASON_UNSPECIFIED


@pytest.mark.parametrize("state", [SlotState.VOID, SlotState.EXPIRED])
def test_what_ended_without_a_charge_cost_nought(state: SlotState) -> None:
    """A caller of a failed generation would wait for a cost that never comes."""
    written = codec.generation(msgspec.structs.replace(OPEN, state=state, ended_at_ms=42))
    assert (written.HasField("cost_nanousd"), written.cost_nanousd) == (True, 0)


def test_every_state_and_finish_reason_has_its_word() -> None:
    """A generation in a state of ours would be unreadable, or two states look the same."""
    states = {state for state in SlotState if state is not SlotState.SEALED}
    written = {codec.generation(msgspec.structs.replace(OPEN, state=state)).state for state in states}
    assert len(written - {pb.GENERATION_STATE_UNSPECIFIED}) == len(states)
    reasons = {
        codec.generation(msgspec.structs.replace(SETTLED, finish_reason=reason.value)).finish_reason for reason in FinishReason
    }
    assert len(reasons - {completion_pb2.FINISH_REASON_UNSPECIFIED}) == len(FinishReason)


def test_a_finish_reason_of_another_version_is_not_said() -> None:
    """One record of a newer instance would make an account's whole list unreadable for older ones."""
    written = codec.generation(msgspec.structs.replace(SETTLED, finish_reason="from_the_future"))
    assert written.finish_reason == completion_pb2.FINISH_REASON_UNSPECIFIED
