"""How large is an error as grpc sends it? Reckoned from the gRPC and HTTP/2 specifications, on the large side."""

from google.rpc import status_pb2

ENTRY_OVERHEAD = 32
"""What HTTP/2 counts for each header beside its name and value (RFC 9113, SETTINGS_MAX_HEADER_LIST_SIZE)."""


def trailer_bytes(written: status_pb2.Status) -> int:
    """Return the bytes of all trailing metadata: code, percent-encoded message, base64 details."""
    details = -(-written.ByteSize() // 3) * 4
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3 for byte in written.message.encode())
    values = {"grpc-status": 2, "grpc-message": message, "grpc-status-details-bin": details, "content-type": 16}
    return sum(len(name) + size + ENTRY_OVERHEAD for name, size in values.items())
