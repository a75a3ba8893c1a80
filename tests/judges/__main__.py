"""`poe judges`: let clients that others made judge a running server, each in a process of its own.

A client made from the protos in Go, grpcurl, and a Python service with `junctor.client`. Each prints what it checked; after
each, every call that had to be left must have left the provider too. Without Go its two judges are left out, which fails where
CI is set.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from junctor.bootstrap import native
from tests.judges import tools
from tests.judges.serving import served

LONGEST_S = 240.0
"""Seconds that a judge may take."""


async def judged(commands: Mapping[str, tuple[str, ...]]) -> int:
    """Run every judge against a server of its own, and return how many found something wrong."""
    failed = 0
    for name, command in commands.items():
        with tempfile.TemporaryDirectory(prefix="junctor-judges-") as folder:
            async with served(Path(folder)) as server:
                print(f"\n{name}", flush=True)
                judge = await asyncio.create_subprocess_exec(*command, env={**os.environ, **server.environment}, cwd=tools.ROOT)
                try:
                    status = await asyncio.wait_for(judge.wait(), LONGEST_S)
                finally:
                    if judge.returncode is None:
                        judge.kill()
                        await judge.wait()
                left = await server.left_open()
                print(f"{left} calls that were left had left the provider too")
                failed += bool(status) or not left
    return failed


def main() -> int:
    """Run the judges that can run here, and return the exit status."""
    commands: dict[str, tuple[str, ...]] = {
        "A Python service with junctor.client": (sys.executable, "-m", "tests.judges.python_judge")
    }
    with tempfile.TemporaryDirectory(prefix="junctor-judge-") as folder:
        if reason := tools.missing():
            print(f"The Go client and grpcurl are left out: {reason}")
            if os.environ.get("CI"):
                return 1
        else:
            tools.tool("grpcurl")
            commands["A Go client made from the protos"] = (str(tools.go_client(Path(folder))),)
            commands["grpcurl"] = (sys.executable, "-m", "tests.judges.grpcurl_judge")
        failed = native.run(judged(commands))
    print(f"\n{len(commands) - failed} of {len(commands)} judges found nothing wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
