"""A small Python client for services that call Junctor over gRPC."""
