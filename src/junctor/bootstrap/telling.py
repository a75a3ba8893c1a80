"""The log of a server, and what it says of its listeners, once for all of its processes: without grpc, as their leader is."""

import ipaddress
import sys

from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.ports.ambient import Clock
from junctor.ports.telemetry import Telemetry
from junctor.settings import PREFIX, Address, Settings

EXPOSED = f"plain text beyond this machine: set {PREFIX}TLS_CERT, or {PREFIX}PLAIN_TEXT=on if TLS ends in front of this"


def open_log(settings: Settings, clock: Clock) -> LineTelemetry:
    """Open the log that the settings name, else write to standard error. Raises OSError."""
    return LineTelemetry.to_file(settings.log, clock) if settings.log else LineTelemetry(sys.stderr, clock)


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
