"""Each method, proto in and proto out, without grpc, so that every protocol that carries protos can share it."""
