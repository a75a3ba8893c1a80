"""`junctor serve`: the production server. Everything from the environment, lines of JSON out, nothing else."""

import os
import sys
from contextlib import AsyncExitStack

from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.telemetry.lines import LineTelemetry
from junctor.bootstrap import native
from junctor.bootstrap.core import open_core
from junctor.bootstrap.local_secrets import peppers
from junctor.bootstrap.problems import Problem, as_problem
from junctor.settings import Settings


def run_serve(settings: Settings) -> int:
    """Serve until a signal ends it; return the exit status."""
    try:
        return native.run(_serve(settings))
    except Problem as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the last word of a process that cannot start
        return 1


async def _serve(settings: Settings) -> int:
    clock = SystemClock()
    with as_problem():
        telemetry = LineTelemetry.to_file(settings.log, clock) if settings.log else LineTelemetry(sys.stderr, clock)
        core = await open_core(settings, os.environ, peppers(settings), telemetry)
    try:
        stop = native.Stop()
        stop.listen()
        async with AsyncExitStack() as stack:
            with as_problem():
                listening = await stack.enter_async_context(native.listening(core, settings))
            telemetry.event("listening", {"host": settings.listen.host, "port": listening.port})
            telemetry.event("listening for managers", {"host": settings.admin_listen.host, "port": listening.admin_port})
            await stop.asked.wait()
            telemetry.event("draining", {"grace_s": int(settings.drain_s)})
            await listening.drain(stop, settings.drain_s)
    finally:
        unfinished = await core.close()
        telemetry.event("stopped", {"unfinished_settlements": unfinished})
    return 0
