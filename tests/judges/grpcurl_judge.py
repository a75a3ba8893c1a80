"""Judges a running Junctor by what a person sees who has grpcurl and nothing else: reflection, answers in JSON, exit statuses.

grpcurl ends with 64 and the number of the status, so that a script can tell them apart.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.judges import tools
from tests.judges.serving import ANSWER

PATIENCE_S = 60.0
STATUSES = {
    "OK": 0,
    "INVALID_ARGUMENT": 67,
    "DEADLINE_EXCEEDED": 68,
    "NOT_FOUND": 69,
    "UNIMPLEMENTED": 76,
    "UNAUTHENTICATED": 80,
}
ROUTER = "junctor.v1.RouterService"


class Check(NamedTuple):
    """A call: its name, grpcurl's arguments after those of every call, how it must end, and words that must be printed."""

    name: str
    arguments: tuple[str, ...]
    status: str = "OK"
    words: tuple[str, ...] = ()


def spec(prompt: str, **fields: object) -> str:
    """Return a request in JSON."""
    asked = {"model": os.environ["JUNCTOR_MODEL"], "messages": [{"role": "ROLE_USER", "parts": [{"text": {"text": prompt}}]}]}
    return json.dumps({"spec": {**asked, **fields}})


def checks() -> list[Check]:
    """Return every check."""
    target, key = os.environ["JUNCTOR_TARGET"], os.environ["JUNCTOR_API_KEY"]
    keyed, of_protos = ("-H", f"authorization: Bearer {key}"), ("-import-path", str(tools.ROOT / "protos"), "-proto")
    complete, stream = f"{ROUTER}/Complete", f"{ROUTER}/Stream"
    said = "".join(ANSWER)
    return [
        Check("list by reflection", (target, "list"), words=(ROUTER, "junctor.v1.CatalogService", "grpc.health.v1.Health")),
        Check("describe by reflection", (target, "describe", ROUTER), words=("junctor.v1.CompleteRequest",)),
        Check("health", (target, "grpc.health.v1.Health/Check"), words=("SERVING",)),
        # What Python's reflection tells of a field lacks its name in JSON, so that grpcurl writes the proto's.
        Check("answer", (*keyed, "-d", spec("answer"), target, complete), words=(said, '"cost_nanousd"', '"generation_id"')),
        Check(
            "answer, by the protos",
            (*keyed, *of_protos, "junctor/v1/router_service.proto", "-d", spec("answer"), target, complete),
            words=(said, '"costNanousd"', '"generationId"'),
        ),
        Check("stream", (*keyed, "-d", spec("answer"), target, stream), words=(*ANSWER, '"opened"', '"finished"')),
        Check("model", (*keyed, "-d", '{"page_size": 1}', target, "junctor.v1.CatalogService/ListModels"), words=('"models"',)),
        Check("no key", ("-d", spec("answer"), target, complete), "UNAUTHENTICATED", ("API_KEY_INVALID",)),
        Check(
            "no model", (*keyed, "-d", spec("x", model="nobody/nothing"), target, complete), "NOT_FOUND", ("MODEL_NOT_FOUND",)
        ),
        Check(
            "wrong field", (*keyed, "-d", spec("x", temperature=9), target, complete), "INVALID_ARGUMENT", ("spec.temperature",)
        ),
        Check(
            "unbuilt method",
            (*keyed, "-d", '{"model": "x/y"}', target, f"{ROUTER}/Embed"),
            "UNIMPLEMENTED",
        ),
        Check("deadline", (*keyed, "-max-time", "0.7", "-d", spec("silence"), target, complete), "DEADLINE_EXCEEDED"),
        Check("deadline of a stream", (*keyed, "-max-time", "0.7", "-d", spec("endless"), target, stream), "DEADLINE_EXCEEDED"),
    ]


def wrong(grpcurl: Path, check: Check) -> str:
    """Return what is wrong with how a call ended, empty if nothing is."""
    command = (str(grpcurl), "-plaintext", *check.arguments)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False
    )
    printed = done.stdout.decode(errors="replace")
    absent = [word for word in check.words if word not in printed]
    if done.returncode != STATUSES[check.status] or absent:
        return f"ended with {done.returncode}, not {STATUSES[check.status]}; not printed: {absent}; printed: {printed[-800:]}"
    return ""


def main() -> int:
    """Run every check and return the exit status."""
    grpcurl, status = tools.tool("grpcurl"), 0
    for check in checks():
        found = wrong(grpcurl, check)
        status |= bool(found)
        print(f"FAIL {check.name}: {found}" if found else f"ok {check.name}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
