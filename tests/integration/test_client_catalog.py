"""Both clients' reading of the catalogue, against a real server that a test scripts."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from junctor.client import AsyncClient, Client, JunctorRpcError, ModelSort
from junctor.client.catalog import AsyncCatalog, Catalog
from junctor.v1 import catalog_service_pb2 as pb
from tests.support.fake_catalog import FakeCatalog
from tests.support.fake_router import Failure

KEY = "jk-made-up"
MODELS = [pb.Model(slug=f"lab/{name}") for name in "abc"]
ENDPOINTS = [pb.Endpoint(id=f"{name}/lab/a", model="lab/a") for name in "pqr"]
PROVIDERS = [pb.Provider(slug=name) for name in "pqr"]
LISTS: Sequence[tuple[Callable[[Any], Any], list[Any], type[Message]]] = [
    (lambda catalog: catalog.list_models(text="x", sort=ModelSort.MODEL_SORT_PRICE), MODELS, pb.ListModelsRequest),
    (lambda catalog: catalog.list_endpoints("lab/a"), ENDPOINTS, pb.ListEndpointsRequest),
    (lambda catalog: catalog.list_providers(), PROVIDERS, pb.ListProvidersRequest),
]


def served(failure: Failure | None = None) -> FakeCatalog:
    """Return a server that has all."""
    return FakeCatalog(models=MODELS, endpoints=ENDPOINTS, providers=PROVIDERS, failure=failure)


@pytest.mark.parametrize(("ask", "expected", "request_type"), LISTS)
def test_a_list_goes_through_all_pages_and_no_further_than_it_is_read(
    ask: Callable[[Catalog], Iterator[Message]], expected: list[Message], request_type: type[Any]
) -> None:
    """A list would end at its first page, or be fetched whole for its first entry."""
    with served() as server, Client(server.target, KEY) as client:
        assert list(ask(client.catalog)) == expected
        first, second = server.requests
        assert type(first) is request_type
        assert (first.page_token, second.page_token) == ("", "2")
        second.page_token = ""
        assert second == first
        server.requests.clear()
        assert list(islice(ask(client.catalog), 2)) == expected[:2]
        assert len(server.requests) == 1


@pytest.mark.parametrize(("ask", "expected", "request_type"), LISTS)
async def test_a_list_goes_through_all_pages_asynchronously(
    ask: Callable[[AsyncCatalog], AsyncIterator[Message]], expected: list[Message], request_type: type[Message]
) -> None:
    """An asyncio service would take a part of the catalogue for all of it."""
    with served() as server:
        async with AsyncClient(server.target, KEY) as client:
            assert [entry async for entry in ask(client.catalog)] == expected
            assert [isinstance(request, request_type) for request in server.requests] == [True, True]
            server.requests.clear()
            async for entry in ask(client.catalog):
                assert entry == expected[0]
                break
            assert len(server.requests) == 1


def test_what_is_wanted_is_sent() -> None:
    """A wish would be left out, and a list show what was not wanted."""
    wanted: dict[str, Any] = {
        "sort": ModelSort.MODEL_SORT_LATENCY,
        "text": "t",
        "providers": ["p"],
        "input_modalities": ["image"],
        "output_modalities": ["text"],
        "parameters": ["tools"],
        "context_tokens_min": 1,
        "input_picousd_max": 0,
        "output_picousd_max": 3,
        "reachable_only": True,
    }
    with served() as server, Client(server.target, KEY) as client:
        list(client.catalog.list_models(page_size=5, **wanted))
    assert server.requests[0] == pb.ListModelsRequest(page_size=5, **wanted)
    fields = {field.name for field in pb.ListModelsRequest.DESCRIPTOR.fields}
    assert fields == {*wanted, "page_size", "page_token"}


async def test_one_model_and_the_version_are_read_by_both() -> None:
    """A service could not look up what it is about to ask."""
    with served() as server, Client(server.target, KEY) as client:
        assert client.catalog.get_model("lab/b") == MODELS[1]
        assert client.catalog.get_version().model_count == 3
        async with AsyncClient(server.target, KEY) as later:
            assert await later.catalog.get_model("lab/c") == MODELS[2]
            assert (await later.catalog.get_version()).version == "7"


async def test_a_failure_is_typed() -> None:
    """A caller would get grpc's own errors, or none."""
    failure = Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "There is no model 'x'.")
    with served(failure) as server, Client(server.target, KEY) as client:
        with pytest.raises(JunctorRpcError, match="MODEL_NOT_FOUND"):
            list(client.catalog.list_endpoints("x"))
        async with AsyncClient(server.target, KEY) as later:
            with pytest.raises(JunctorRpcError, match="MODEL_NOT_FOUND"):
                await later.catalog.get_model("x")


async def test_a_closed_client_reads_nothing() -> None:
    """A list would go on with a connection that its owner gave up."""
    with served() as server:
        client = Client(server.target, KEY)
        listing = client.catalog.list_models()
        assert next(listing) == MODELS[0]
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            list(listing)
        later = AsyncClient(server.target, KEY)
        await later.close()
        with pytest.raises(RuntimeError, match="closed"):
            await later.catalog.get_version()
