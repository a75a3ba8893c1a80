"""What a parent and its model process say to each other, each in one JSON line: the order on stdin, the answer on stdout.

The key travels here and nowhere else: command lines and environments can be read by other users of the machine.
"""

from msgspec import Struct

MODEL_ALIAS = "junctor/local"
"""The name under which the process serves its model."""


class ServerConfig(Struct, frozen=True, kw_only=True):
    """What to serve and how. Each of `parallel` calls at once has `context_tokens` for its input and output."""

    model_path: str
    api_key: str
    context_tokens: int
    parallel: int


class Listening(Struct, frozen=True):
    """The process answers at `address`, such as http://127.0.0.1:40123."""

    address: str
