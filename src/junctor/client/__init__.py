"""A small Python client for services that call Junctor over gRPC.

    with Client(api_key=key) as client:
        print(client.complete("Good morning", model="junctor/local").choices[0].message.parts[0].text.text)

Importing it does not import grpc: making a client does.
"""

from junctor.client.aio import AsyncClient, AsyncEventStream
from junctor.client.errors import JunctorRpcError
from junctor.client.requests import Conversation, complete_request, explain_request, stream_request
from junctor.client.sync import Client, EventStream
from junctor.v1.catalog_service_pb2 import Endpoint, Model, ModelSort, PriceParts, Provider
from junctor.v1.router_service_pb2 import (
    CompleteResponse,
    ExcludedEndpoint,
    ExplainResponse,
    Finished,
    PlannedCandidate,
    StreamEvent,
)
from junctor.v1.routing_pb2 import ProviderList, RoutingPreferences, Sort
from junctor.v1.usage_service_pb2 import Generation

__all__ = [
    "AsyncClient",
    "AsyncEventStream",
    "Client",
    "CompleteResponse",
    "Conversation",
    "Endpoint",
    "EventStream",
    "ExcludedEndpoint",
    "ExplainResponse",
    "Finished",
    "Generation",
    "JunctorRpcError",
    "Model",
    "ModelSort",
    "PlannedCandidate",
    "PriceParts",
    "Provider",
    "ProviderList",
    "RoutingPreferences",
    "Sort",
    "StreamEvent",
    "complete_request",
    "explain_request",
    "stream_request",
]
