"""One of the processes of `junctor serve`, as the supervisor starts it: `python -m junctor.bootstrap.worker`.

Its settings are those of the environment, which the supervisor has checked and in which it named the ports. Until it is ready
to listen, signals pass it by, as the whole group gets them: what its leader says waits in the pipe, and is its orderly end.
"""

import os
import signal
import sys

from junctor.bootstrap import quick
from junctor.settings import Command, Settings

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with quick.start():
        from junctor.bootstrap.serve import run_serve

        sys.exit(run_serve(Settings.from_environment(os.environ, Command.SERVE), led=True))
