"""Messages that callers squeeze: what counts is their size without compression, and no more than that is unpacked."""

from pathlib import Path

import grpc
import grpc.aio

from junctor.client import complete_request
from tests.support.hearing import hear
from tests.support.memory import swelling
from tests.support.pipeline import MODEL, PATIENCE_S, bearer, one_endpoint
from tests.support.router_process import Site, loaded_router, opened_core
from tests.support.scripted_upstream import chat_answer

MESSAGE_MAX_BYTES = 1 << 20
UNPACKED_BYTES = 128 << 20
MEMORY_MAX = 64 << 20


async def test_a_squeezed_message_is_refused_at_its_limit(tmp_path: Path) -> None:
    """Else a thousandth of a message's size is enough to use up a server's memory; without an API key, it is not even read."""
    site = Site(str(tmp_path), {"JUNCTOR_MESSAGE_IN_MAX_BYTES": str(MESSAGE_MAX_BYTES)})
    async with opened_core(site) as core:
        known = bearer(await core.accounts.create_api_key((await core.accounts.create_organisation("test")).id, "test"))
    router = await loaded_router()
    try:
        await router.start(site, "http://127.0.0.1:1/v1")
        async with grpc.aio.insecure_channel(router.target, compression=grpc.Compression.Gzip) as channel:
            # The first call makes the connection, which takes memory of its own.
            first = await hear(channel, "Complete", bytes(MESSAGE_MAX_BYTES // 2), known, PATIENCE_S)
            with swelling(router._process.pid) as grown:
                second = await hear(channel, "Complete", bytes(UNPACKED_BYTES), known, PATIENCE_S)
                stranger = await hear(channel, "Complete", bytes(UNPACKED_BYTES), (), PATIENCE_S)
    finally:
        await router.kill()
    assert first.how == "INVALID_ARGUMENT INVALID_FIELD"
    assert stranger.how == "UNAUTHENTICATED API_KEY_INVALID"
    assert second.how == "RESOURCE_EXHAUSTED"
    assert grown.bytes < MEMORY_MAX


async def test_another_compression_than_gzip_is_not_unpacked(tmp_path: Path) -> None:
    """Else strangers choose the decoder that reads their bytes, of all that a library happens to have."""
    heard: dict[str, str] = {}
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
            # Long enough that it is worth being compressed: what is not would be sent as it is.
            request = complete_request("Hi. " * 1000, model=MODEL).SerializeToString()
            async with grpc.aio.insecure_channel(router.target, compression=compression) as channel:
                heard[compression.name] = (await hear(channel, "Complete", request, bearer(router.api_key), PATIENCE_S)).how
    assert heard == {"NoCompression": "OK", "Gzip": "OK", "Deflate": "UNIMPLEMENTED"}
