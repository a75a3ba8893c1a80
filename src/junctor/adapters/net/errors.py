"""What can go wrong between us and a server, told apart by what may have happened at the other end.

Each error is one phase, because the phase decides what may be tried next. The texts are our own: no library's exception text,
no address and no header value is ever in them.
"""


class TransportError(Exception):
    """The root of the tree. Only its leaves are raised."""


class NeverSentError(TransportError):
    """The server did not act on the request: no connection was made, or a kept-alive one died before a byte of an answer."""


class ConnectionLostError(TransportError):
    """The connection broke after the request was sent; the server may have acted on it."""


class TimedOutError(TransportError):
    """The instant passed by which something was to come."""


class TooLargeError(TransportError):
    """The answer is longer than the limit."""


class BadProtocolError(TransportError):
    """The server does not speak HTTP/1.1 as it was asked to."""


class BadHeaderError(ValueError):
    """A value that may not stand in a header. It may be a secret, so it is not told."""
