"""How does a candidate's secret become a header? Through here, and through nothing else.

The secret is fetched for each call, put where the provider's row says, and shown nowhere else: not in a repr, not in an error,
and not in a failure whose text the provider wrote with our own secret in it. What it opens is made once, and again when its
name has come to stand for another one, which may be at any time.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from junctor.adapters.net.errors import BadHeaderError
from junctor.adapters.net.headers import Headers, check_value, prepared
from junctor.adapters.providers.registry import Auth
from junctor.domain.routing import Failure, FailureKind
from junctor.ports.secrets import Secrets

_HIDDEN = "[secret]"

_TELLING_CHARS = 6
"""A beginning of a secret shorter than this tells no more than what kind of key it is."""

_SECRETS_KEPT: Final = 1_024
"""For how many credentials it is kept what they open."""


class Authorization(Struct, frozen=True):
    """The headers that open a provider, for a whole answer and for a streamed one, and the secret within them."""

    whole: Headers
    streamed: Headers
    secret: str = ""

    def __repr__(self) -> str:
        """Tell nothing."""
        return "Authorization()"

    def scrub(self, failure: Failure) -> Failure:
        """Take the secret out of a failure's texts: some providers quote it."""
        if not self.secret:
            return failure
        code = failure.code and self._without_secret(failure.code)
        return msgspec.structs.replace(failure, message=self._without_secret(failure.message), code=code)

    def _without_secret(self, text: str) -> str:
        """Blank the secret out, and its beginning where the text was cut within it."""
        text = text.replace(self.secret, _HIDDEN)
        for length in range(len(self.secret) - 1, _TELLING_CHARS - 1, -1):
            if text.endswith(self.secret[:length]):
                return text[:-length] + _HIDDEN
        return text


def authorize(auth: Auth, credential: str | None, secrets: Secrets) -> Authorization | Failure:
    """Fetch the secret named `credential` and put it where it goes; None asks for no header."""
    if credential is None or auth.style == "none":
        return _NONE
    secret = secrets.get(credential)
    if not secret:
        _made.pop((auth.header, credential), None)
        return Failure(kind=FailureKind.CREDENTIAL, message="there is no secret of this name")
    try:
        return _opening(auth.header, credential, secret)
    except BadHeaderError:
        return Failure(kind=FailureKind.CREDENTIAL, message="the secret has characters that no header may hold")


def _authorization(headers: Mapping[str, str], secret: str = "") -> Authorization:
    """Make the headers of requests ready. Raises BadHeaderError."""
    whole, streamed = (
        prepared({"content-type": "application/json", "accept": accepted, **headers})
        for accepted in ("application/json", "text/event-stream")
    )
    return Authorization(whole, streamed, secret)


_NONE: Final = _authorization({})
_made: Final[dict[tuple[str | None, str], Authorization]] = {}
"""What was made last, by the header's name and the credential's, each for the secret that the name stood for."""


def _opening(header: str | None, credential: str, secret: str) -> Authorization:
    """Put a secret into the header of this name, or where most have it. Raises BadHeaderError."""
    kept = _made.get((header, credential))
    if kept is not None and kept.secret == secret:
        return kept
    check_value(secret)
    made = _authorization({"authorization": f"Bearer {secret}"} if header is None else {header: secret}, secret)
    if len(_made) >= _SECRETS_KEPT:
        _made.clear()
    _made[header, credential] = made
    return made
