"""How does a client reach the router? The target, its credentials and the channel's options, for both clients.

grpc is imported by whoever makes a channel, never by this module: `import junctor.client` stays light.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 600.0
READ_TIMEOUT_S = 30.0
_KEY_VARIABLE = "JUNCTOR_API_KEY"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MESSAGE_MAX_BYTES = 64 * 1024 * 1024

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
    # The server permits a ping every 30 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # The router is inside the organisation's network: a proxy out of it would not find it.
    ("grpc.enable_http_proxy", 0),
    # Retrying is the router's trade and the caller's choice; no DNS record shall turn it on.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.primary_user_agent", "junctor-python"),
)


def find_key(api_key: str | None, key_file: str | os.PathLike[str] | None) -> str:
    """Return the API key: the one given, else the file's, else that of JUNCTOR_API_KEY.

    Raises ValueError if there is none or it cannot be a key, OSError if the file cannot be read.
    """
    if api_key is None and key_file is not None:
        api_key = Path(key_file).read_text(encoding="utf-8", errors="replace")
    key = (os.environ.get(_KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not key:
        raise ValueError(f"no API key: give api_key or key_file, or set {_KEY_VARIABLE}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the API key has characters that no key has")
    return key


def authorization(key: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries the key."""
    return (("authorization", f"Bearer {key}"),)


def credentials(*, tls: bool | bytes, certificate: tuple[bytes, bytes] | None) -> "grpc.ChannelCredentials | None":
    """Return what a channel speaks TLS with, None for plain text.

    Raises ValueError if there is nothing to trust, or a certificate and no TLS.
    """
    import grpc

    if tls is False:
        if certificate is not None:
            raise ValueError("a certificate is shown over TLS only: give tls")
        return None
    if isinstance(tls, bytes) and _CERTIFICATE not in tls:
        raise ValueError("tls is not a certificate in PEM")
    chain, key = certificate or (None, None)
    return grpc.ssl_channel_credentials(tls if isinstance(tls, bytes) else None, key, chain)


def check_timeout(timeout_s: float) -> float:
    """Return a timeout that grpc takes for one.

    Raises ValueError if it is not a positive number of seconds: grpc would take nought for no limit or for passed.
    """
    if not 0 < timeout_s < float("inf"):
        raise ValueError("timeout_s is a positive number of seconds")
    return timeout_s
