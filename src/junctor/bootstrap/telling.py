"""What does a server say of its listeners, once for all of its processes? Without grpc, as who leads them says it."""

import ipaddress

from junctor.ports.telemetry import Telemetry
from junctor.settings import PREFIX, Address, Settings

EXPOSED = f"plain text beyond this machine: set {PREFIX}TLS_CERT, or {PREFIX}PLAIN_TEXT=on if TLS ends in front of this"


def tell_listening(telemetry: Telemetry, settings: Settings, port: int, admin_port: int) -> None:
    """Tell where a server listens, when it does, and where it should not in plain text."""
    for address in exposed(settings):
        telemetry.event(EXPOSED, {"listener": str(address)})
    telemetry.event("listening", {"host": settings.listen.host, "port": port, "processes": settings.processes})
    telemetry.event("listening for managers", {"host": settings.admin_listen.host, "port": admin_port})


def exposed(settings: Settings) -> tuple[Address, ...]:
    """Return the listeners that take plain text from other machines though nobody said that it is meant."""
    if settings.tls_cert is not None or settings.plain_text:
        return ()
    return tuple(address for address in (settings.listen, settings.admin_listen) if not _is_here(address.host))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
