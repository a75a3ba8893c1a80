"""Judges a running Junctor by what a Python service sees that uses `junctor.client`, deadlines and cancellation included.

It runs in a process of its own, without an event loop: one line for each check, and an exit status.
"""

import os
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc

from junctor.client import Client, JunctorRpcError
from tests.judges.serving import ANSWER

PATIENCE_S, SHORT_S = 30.0, 0.7
MANY = 100
MODELS_MIN = 300


class Wrong(Exception):
    """A check found something else than it must."""


class Judge:
    """The checks, on one client."""

    def __init__(self, target: str, api_key: str, model: str) -> None:
        self.target, self.model = target, model
        self.client = Client(target, api_key)

    def models(self) -> None:
        """List all models, page by page."""
        seen = sum(1 for _ in self.client.catalog.list_models())
        if seen < MODELS_MIN:
            raise Wrong(f"{seen} models")

    def answer(self) -> None:
        """Have a Complete answered, charged and recorded."""
        answer = self.client.complete("answer", model=self.model, timeout_s=PATIENCE_S)
        text = "".join(part.text.text for part in answer.choices[0].message.parts)
        kept = self.client.get_generation(answer.generation_id)
        if text != "".join(ANSWER) or not answer.cost.cost_nanousd == kept.cost_nanousd > 0:
            raise Wrong(f"{text!r}, {answer.cost}, {kept}")

    def stream(self) -> None:
        """See a Stream begin, say all, and finish."""
        events = list(self.client.stream("answer", model=self.model, timeout_s=PATIENCE_S))
        kinds = [event.WhichOneof("event") for event in events]
        text = "".join(event.delta.content for event in events)
        if text != "".join(ANSWER) or (kinds[0], kinds[-1]) != ("opened", "finished"):
            raise Wrong(f"{text!r} by {kinds}")

    def many(self) -> None:
        """Share a client between many threads."""
        with ThreadPoolExecutor(MANY) as pool:
            asked = [pool.submit(self.client.complete, "answer", model=self.model, timeout_s=PATIENCE_S) for _ in range(MANY)]
            if len({future.result().generation_id for future in asked}) != MANY:
                raise Wrong("two answers share a record")

    def twice(self) -> None:
        """Have a named call answered once."""
        named = str(uuid.uuid4())
        self.client.complete("answer", model=self.model, request_id=named)
        self._refused("ALREADY_EXISTS", "REQUEST_COMPLETED", "answer", request_id=named)

    def wrong_key(self) -> None:
        """Bring a wrong key, and be told no more than that."""
        with Client(self.target, "jk_wrong") as other:
            _refused("UNAUTHENTICATED", "API_KEY_INVALID", lambda: other.complete("answer", model=self.model))

    def unknown_model(self) -> None:
        """Ask for a model that nobody has."""
        _refused("NOT_FOUND", "MODEL_NOT_FOUND", lambda: self.client.complete("answer", model="nobody/nothing"))

    def wrong_field(self) -> None:
        """Send a wrong field, and have it named."""
        error = self._refused("INVALID_ARGUMENT", "INVALID_FIELD", "answer", temperature=9.0)
        if [field for field, _ in error.field_violations] != ["spec.temperature"]:
            raise Wrong(f"named were {error.field_violations}")

    def down(self) -> None:
        """Meet a provider that is down."""
        self._refused("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", "down")

    def cut(self) -> None:
        """Be told of an answer that breaks off, and of its generation."""
        stream = self.client.stream("cut", model=self.model, timeout_s=PATIENCE_S)
        error = _refused("ABORTED", "STREAM_INTERRUPTED", lambda: list(stream))
        if not error.metadata.get("generation_id"):
            raise Wrong(f"no generation in {error.metadata}")

    def deadline(self) -> None:
        """End a call that has no answer by its deadline."""
        _refused("DEADLINE_EXCEEDED", None, lambda: self.client.complete("silence", model=self.model, timeout_s=SHORT_S))

    def stream_deadline(self) -> None:
        """End a stream that has begun by its deadline."""
        stream = self.client.stream("endless", model=self.model, timeout_s=SHORT_S)
        _refused("DEADLINE_EXCEEDED", None, lambda: list(stream))

    def left(self) -> None:
        """Leave a stream, which cancels it."""
        with self.client.stream("endless", model=self.model, timeout_s=PATIENCE_S) as stream:
            for event in stream:
                if event.HasField("delta"):
                    break

    def closed(self) -> None:
        """Close a client, which cancels what is running in it."""
        other = Client(self.target, os.environ["JUNCTOR_API_KEY"])
        asked = threading.Thread(target=_ignored, args=(lambda: other.complete("silence", model=self.model),))
        asked.start()
        with self.client.stream("endless", model=self.model, timeout_s=PATIENCE_S) as beside:  # so that the other has begun
            next(beside)
        other.close()
        asked.join(PATIENCE_S)
        if asked.is_alive():
            raise Wrong("it goes on")

    def malformed(self) -> None:
        """Send bytes that are no message."""
        with closing(grpc.insecure_channel(self.target)) as channel:
            send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/junctor.v1.RouterService/Complete")
            keyed = (("authorization", f"Bearer {os.environ['JUNCTOR_API_KEY']}"),)
            try:
                send(b"\x0a\xff\xff\x01", metadata=keyed, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    return
                raise Wrong(str(error.code())) from None
            raise Wrong("it was answered")

    def _refused(self, code: str, reason: str, prompt: str, **fields: object) -> JunctorRpcError:
        asking = {"model": self.model, "timeout_s": PATIENCE_S, **fields}
        return _refused(code, reason, lambda: self.client.complete(prompt, **asking))  # type: ignore[arg-type] # of each check


def _refused(code: str, reason: str | None, call: Callable[[], object]) -> JunctorRpcError:
    """Return the error of a call that must fail so. Raises Wrong."""
    try:
        answered = call()
    except JunctorRpcError as error:
        if error.code != code or (reason is not None and error.reason != reason):
            raise Wrong(f"{error.code} {error.reason}") from None
        return error
    raise Wrong(f"it was answered: {answered}")


def _ignored(call: Callable[[], object]) -> None:
    try:
        call()
    except JunctorRpcError:
        return


def main() -> int:
    """Run every check and return the exit status."""
    judge = Judge(os.environ["JUNCTOR_TARGET"], os.environ["JUNCTOR_API_KEY"], os.environ["JUNCTOR_MODEL"])
    checks = [value for name, value in vars(Judge).items() if not name.startswith("_")]
    status = 0
    with judge.client:
        for check in checks:
            try:
                check(judge)
            except (Wrong, JunctorRpcError) as error:
                print(f"FAIL {check.__name__}: {error}", flush=True)
                status = 1
            else:
                print("ok", check.__name__.replace("_", " "), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
