"""What can go wrong at a provider before its first content, as scripts, and what an attempt that meets it is called."""

from tests.support.scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Close,
    Reset,
    Script,
    Send,
    Stall,
    chat_body,
    chat_chunk,
    chunk,
    event,
    head,
    sse,
    status,
)

LENGTH_10 = {"content-type": "application/json", "content-length": "10"}
ERROR = b'{"error": {"message": "It broke.", "type": "server_error"}}'

FAULTS: dict[str, tuple[Script, str]] = {
    "500": (status(500, ERROR), "FAILED"),
    "503": (status(503), "FAILED"),
    "redirect": (status(302, headers={"location": "http://127.0.0.1:1/"}), "FAILED"),
    "429": (status(429, ERROR, {"retry-after": "20"}), "THROTTLED"),
    "401": (status(401, ERROR), "CREDENTIAL_REFUSED"),
    "402": (status(402, ERROR), "CREDENTIAL_REFUSED"),
    "404": (status(404, ERROR), "MODEL_GONE"),
    "reset before headers": ([Reset()], "FAILED"),
    "closed before headers": ([Close()], "FAILED"),
    "no HTTP": ([Send(b"220 ready\r\n\r\n"), Close()], "MALFORMED"),
    "stall before headers": ([Stall()], "TIMED_OUT"),
}
"""What can go wrong in the same way for a whole answer and for a stream."""

WHOLE_FAULTS: dict[str, tuple[Script, str]] = {
    **FAULTS,
    "reset after headers": ([Send(head(200, LENGTH_10)), Reset()], "FAILED"),
    "cut": ([Send(head(200, LENGTH_10) + b"{"), Close()], "FAILED"),
    "stall after headers": ([Send(head(200, LENGTH_10) + b"{"), Stall()], "TIMED_OUT"),
    "empty body": (status(200), "MALFORMED"),
    "empty answer": (status(200, chat_body({"content": ""}, finish="")), "MALFORMED"),
    "no choices": (status(200, b'{"choices": []}'), "MALFORMED"),
    "not JSON": (status(200, b"<html></html>"), "MALFORMED"),
    "error inside a 200": (status(200, ERROR), "FAILED"),
}

STREAM_FAULTS: dict[str, tuple[Script, str]] = {
    **FAULTS,
    "reset after headers": ([Send(STREAM_HEAD), Reset()], "FAILED"),
    "cut before content": ([Send(STREAM_HEAD + chunk(chat_chunk({"role": "assistant", "content": ""}))), Close()], "FAILED"),
    "stall before the first token": ([Send(STREAM_HEAD + chunk(b": here\n\n")), Stall()], "TIMED_OUT"),
    "empty body": ([Send(STREAM_HEAD + chunk(b""))], "MALFORMED"),
    "empty answer": ([Send(STREAM_HEAD + chunk(DONE) + chunk(b""))], "MALFORMED"),
    "malformed chunk": (lambda _: sse([b"data: {\n\n"]), "MALFORMED"),
    "error inside a 200": (lambda _: sse([event({"error": {"message": "It broke.", "code": 502}}), DONE]), "FAILED"),
    "whole error": (status(200, ERROR), "FAILED"),
    "content and error in one read": (
        [Send(STREAM_HEAD + chunk(chat_chunk({"content": "bad"}) + event({"error": {"message": "It broke."}})) + chunk(b""))],
        "FAILED",
    ),
}
