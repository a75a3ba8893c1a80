"""The server that is judged: a whole router whose one provider does what the prompt asks for.

`answer` answers, whole or as a stream; `endless` goes on until it is left; `silence` never says a word; `cut` breaks in the
middle; `down` refuses. So a judge needs nothing but a key, and the server's side can see whether an upstream call was left.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from tests.support.harness import Router
from tests.support.pipeline import MODEL, one_endpoint
from tests.support.scripted_upstream import (
    STREAM_HEAD,
    Request,
    Reset,
    ScriptedUpstream,
    Send,
    Step,
    Wait,
    WaitClosed,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunk,
    status,
)

ANSWER = ("Hello, ", "you.")
LEFT = ("endless", "silence")
"""The prompts whose upstream call ends only by being left."""

_WORD = Send(chunk(chat_chunk({"content": "on "})))


@dataclass(frozen=True)
class Served:
    """A running router, and what its provider was asked."""

    router: Router
    upstream: ScriptedUpstream

    @property
    def environment(self) -> dict[str, str]:
        """Return what a judge is told."""
        return {"JUNCTOR_TARGET": self.router.target, "JUNCTOR_API_KEY": self.router.api_key, "JUNCTOR_MODEL": MODEL}

    async def left_open(self) -> int:
        """Return how many calls there were that had to be left, after all of them were. Raises TimeoutError."""
        asked = [request for request in self.upstream.requests if _prompt(request) in LEFT]
        for request in asked:
            await request.gone()
        return len(asked)


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[Served, None]:
    """Run it, with reflection, until the block ends."""
    async with one_endpoint(folder, _behave, settings={"JUNCTOR_REFLECTION": "on"}) as (router, upstream):
        yield Served(router, upstream)


def _behave(request: Request) -> Iterator[Step]:
    """Do what the prompt asks for."""
    match _prompt(request):
        case "endless":
            yield Send(STREAM_HEAD)
            for step in repeat((_WORD, Wait(0.02))):
                yield from step
        case "silence":
            yield WaitClosed()
        case "cut":
            yield from (Send(STREAM_HEAD), _WORD, Wait(0.1), Reset())
        case "down":
            yield from status(503)
        case _ if request.json.get("stream"):
            yield from chat_stream(ANSWER)(request)
        case _:
            yield from chat_answer("".join(ANSWER))


def _prompt(request: Request) -> str:
    """Return the text of the last message."""
    content = request.json["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])
