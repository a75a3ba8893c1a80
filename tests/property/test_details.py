"""Errors of any content and length keep within what grpc carries."""

from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.doors.rpc.details import STATUS_BYTES_MAX, rich_status
from tests.support.grpc_metadata import trailer_bytes
from tests.support.sample_errors import EVERY, Make

ANY_TEXT = st.text(max_size=700) | st.text(st.sampled_from("💥€é%x\n"), min_size=100, max_size=700)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(EVERY.values())), ANY_TEXT, st.integers(1, 60))
def test_every_status_fits(make: Make, text: str, count: int) -> None:
    """An error would become another one on its way, and be repeated by a client who must not."""
    written = rich_status(make(text, count))
    assert written.ByteSize() <= STATUS_BYTES_MAX
    assert trailer_bytes(written) <= 6 * 1024
    assert written.message.isprintable()
