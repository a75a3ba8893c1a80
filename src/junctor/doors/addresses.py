"""How it is told that an address cannot be listened on, by whoever wanted to: without grpc, which not all of them load."""

import os


class AddressError(Exception):
    """The address cannot be listened on; the text says why."""


def refused(address: object, error: OSError) -> AddressError:
    """Return what the system's refusal of an address, as it is written, comes to."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else "no such address"
    return AddressError(f"{address} cannot be listened on: {reason}")
