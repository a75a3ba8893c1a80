"""Tests of reading generations with junctor.client, against a real gRPC server."""

from itertools import islice

import pytest

from junctor.client import AsyncClient, Client, Generation, JunctorRpcError
from tests.support.fake_usage import FakeUsage, a_generation

KEY = "jk-made-up"
PAGES: tuple[list[Generation], ...] = ([a_generation(5), a_generation(4)], [], [a_generation(3)])
IDS = ["gen-5", "gen-4", "gen-3"]


def test_a_generation_is_read_by_its_id() -> None:
    """If this fails, a service cannot learn what its call cost."""
    with FakeUsage(*PAGES) as usage, Client(usage.target, KEY) as client:
        assert client.get_generation("gen-4") == a_generation(4)
        with pytest.raises(JunctorRpcError) as missing:
            client.get_generation("gen-9")
    assert (missing.value.code, missing.value.reason) == ("NOT_FOUND", "GENERATION_NOT_FOUND")
    _, metadata, remaining_s = usage.requests[0]
    assert metadata["authorization"] == f"Bearer {KEY}"
    assert 0 < remaining_s < 31


async def test_a_generation_is_read_by_its_id_asynchronously() -> None:
    """If this fails, an asyncio service cannot learn what its call cost."""
    with FakeUsage(*PAGES) as usage:
        async with AsyncClient(usage.target, KEY) as client:
            assert await client.get_generation("gen-4", timeout_s=20) == a_generation(4)
            with pytest.raises(JunctorRpcError) as missing:
                await client.get_generation("gen-9")
    assert (missing.value.code, missing.value.reason) == ("NOT_FOUND", "GENERATION_NOT_FOUND")
    assert 0 < usage.requests[0][2] < 21


def test_a_list_goes_through_all_pages_and_no_further_than_it_is_read() -> None:
    """If this fails, a list ends at a short page, or is fetched whole for its first entry."""
    with FakeUsage(*PAGES) as usage, Client(usage.target, KEY) as client:
        assert [generation.id for generation in client.list_generations(api_key="abc", page_size=2)] == IDS
        asked = [request for request, _, _ in usage.requests]
        assert [str(request).split() for request in asked] == [
            ["page_size:", "2", "api_key:", '"abc"'],
            ["page_size:", "2", "page_token:", '"1"', "api_key:", '"abc"'],
            ["page_size:", "2", "page_token:", '"2"', "api_key:", '"abc"'],
        ]
        usage.requests.clear()
        assert [generation.id for generation in islice(client.list_generations(), 2)] == IDS[:2]
        assert len(usage.requests) == 1


async def test_a_list_goes_through_all_pages_asynchronously() -> None:
    """If this fails, an asyncio service sees a part of what its account generated and takes it for all."""
    with FakeUsage(*PAGES) as usage:
        async with AsyncClient(usage.target, KEY) as client:
            listed = [generation.id async for generation in client.list_generations(api_key="abc", page_size=2)]
            assert listed == IDS
            assert len(usage.requests) == 3
            usage.requests.clear()
            async for generation in client.list_generations():
                assert generation.id == IDS[0]
                break
            assert len(usage.requests) == 1


async def test_a_closed_client_reads_nothing() -> None:
    """If this fails, a list goes on with a connection that its owner gave up."""
    with FakeUsage(*PAGES) as usage:
        client = Client(usage.target, KEY)
        listing = client.list_generations()
        assert next(listing).id == IDS[0]
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            list(listing)
        with pytest.raises(RuntimeError, match="closed"):
            client.get_generation("gen-5")
