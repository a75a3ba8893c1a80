"""What may be written to which stream? Shared by the commands; standard library only, so that it costs nothing to import.

Invariant: what a model or a server wrote reaches a terminal without the control characters that would steer it.
"""

import os
from typing import TextIO

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def is_lively(stream: TextIO) -> bool:
    """Tell whether colour and movement are wanted on a stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_text(text: str) -> bool:
    """Tell whether a text can be sent: bytes of a terminal that are no UTF-8 come as halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def dimmed(text: str, stream: TextIO) -> str:
    """Return the text in a form that may be overlooked, where the stream can show that."""
    return f"\x1b[2m{text}\x1b[0m" if is_lively(stream) else text


def shown(text: str, stream: TextIO) -> str:
    """Return a foreign text as it may be written: whole to a file or pipe, without control characters to a terminal."""
    return text.translate(_CONTROLS) if stream.isatty() else text


def write(text: str, stream: TextIO) -> None:
    """Write at once."""
    stream.write(text)
    stream.flush()
