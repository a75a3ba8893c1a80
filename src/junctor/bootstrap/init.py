"""`junctor init`: the first operator key of a deployment, from which everything else is managed."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap.core import open_core
from junctor.bootstrap.local_secrets import peppers
from junctor.bootstrap.problems import as_problem
from junctor.domain.account import KeyScope
from junctor.settings import Settings


class Voice(Protocol):
    """How `init` speaks to whoever started it: cli/console."""

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Write rows in columns."""


def run_init(settings: Settings, voice: Voice) -> int:
    """Make the key and show it; return the exit status. Raises Problem if the store cannot be used."""
    voice.table("Operator key, shown once", [("key", asyncio.run(_init(settings)))])
    return 0


async def _init(settings: Settings) -> str:
    with as_problem():
        core = await open_core(settings, os.environ, peppers(settings), LineTelemetry(sys.stderr, SystemClock()))
    try:
        with as_problem():
            return await core.accounts.create_api_key("", "operator", KeyScope.OPERATOR)
    finally:
        await core.close()
