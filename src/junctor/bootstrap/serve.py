"""`junctor serve`: the production server. Everything from the environment, lines of JSON out, nothing else."""

import os
import sys
from contextlib import AsyncExitStack, ExitStack, closing, suppress

from junctor.adapters.system.ambient import SystemClock
from junctor.bootstrap import native, quick
from junctor.bootstrap.core import open_core
from junctor.bootstrap.local_secrets import peppers
from junctor.bootstrap.problems import Problem, as_problem
from junctor.bootstrap.stop import Stop
from junctor.bootstrap.supervisor import LISTENING
from junctor.bootstrap.telling import open_log, tell_listening
from junctor.settings import Settings


def run_serve(settings: Settings, *, led: bool = False) -> int:
    """Serve until a signal ends it; return the exit status.

    Where it is led it is one of several processes: its standard input says when to end, its standard output that it listens.
    """
    try:
        return native.run(_serve(settings, led=led))
    except Problem as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the last word of a process that cannot start
        return 1


async def _serve(settings: Settings, *, led: bool) -> int:
    with as_problem(), ExitStack() as undo:
        telemetry = undo.enter_context(closing(open_log(settings, SystemClock())))
        core = await open_core(settings, os.environ, peppers(settings), telemetry)
        undo.pop_all()
    try:
        stop = Stop()
        stop.listen(led=led)
        if led:
            stop.follow(sys.stdin.fileno())
        async with AsyncExitStack() as stack:
            with as_problem():
                listening = await stack.enter_async_context(native.listening(core, settings))
            quick.started()
            if led:
                with suppress(OSError):
                    os.write(sys.stdout.fileno(), LISTENING)
            else:
                tell_listening(telemetry, settings, listening.port, listening.admin_port)
            await stop.asked.wait()
            telemetry.event("draining", {"grace_s": int(settings.drain_s)})
            await listening.drain(stop, settings.drain_s)
    finally:
        unfinished = await core.close()
        telemetry.event("stopped", {"unfinished_settlements": unfinished})
        telemetry.close()
    return 0
