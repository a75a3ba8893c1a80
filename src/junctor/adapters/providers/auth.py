"""How does a candidate's secret become a header? Through here, and through nothing else.

The secret is fetched for one call, put where the provider's row says, and shown nowhere else: not in a repr, not in an error,
and not in a failure whose text the provider wrote with our own secret in it.
"""

import msgspec
from msgspec import Struct

from junctor.adapters.net.errors import BadHeaderError
from junctor.adapters.net.headers import check_value
from junctor.adapters.providers.registry import Auth
from junctor.domain.routing import Failure, FailureKind
from junctor.ports.secrets import Secrets

_HIDDEN = "[secret]"

_TELLING_CHARS = 6
"""A beginning of a secret shorter than this tells no more than what kind of key it is."""


class Authorization(Struct, frozen=True):
    """The headers that open a provider, and the secret within them."""

    headers: dict[str, str]
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
        return Authorization({})
    secret = secrets.get(credential)
    if not secret:
        return Failure(kind=FailureKind.CREDENTIAL, message="there is no secret of this name")
    try:
        check_value(secret)
    except BadHeaderError:
        return Failure(kind=FailureKind.CREDENTIAL, message="the secret has characters that no header may hold")
    if auth.header is not None:
        return Authorization({auth.header: secret}, secret)
    return Authorization({"authorization": f"Bearer {secret}"}, secret)
