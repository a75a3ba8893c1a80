"""The record of one generation: what was asked, where it went, what it consumed and cost."""

from msgspec import Struct

from junctor.domain.lease import Slot, SlotState
from junctor.domain.money import NanoUsd


class Generation(Struct, frozen=True, kw_only=True):
    """One generation, as its slot holds it. Instants are Unix milliseconds; `ended_at_ms` is None while it is OPEN.

    `hold_nanousd` is the most it may cost and `cost_nanousd` what it did. `endpoint` is empty until one answered.
    """

    id: str
    slot: Slot
    state: SlotState
    api_key: str
    requested_model: str
    started_at_ms: int
    deadline_at_ms: int
    streamed: bool = False
    hold_nanousd: NanoUsd = 0
    cost_nanousd: NanoUsd | None = None
    model: str = ""
    provider: str = ""
    endpoint: str = ""
    price_version: str = ""
    upstream_id: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    estimated: bool = False
    finish_reason: str = ""
    time_to_first_token_ms: int | None = None
    ended_at_ms: int | None = None
