"""One of the processes of `junctor serve`, as the supervisor starts it: `python -m junctor.bootstrap.worker`.

Its settings are those of the environment, which the supervisor has checked and in which it named the ports.
"""

import os
import sys

from junctor.bootstrap import quick
from junctor.settings import Command, Settings

if __name__ == "__main__":
    with quick.start():
        from junctor.bootstrap.serve import run_serve

        sys.exit(run_serve(Settings.from_environment(os.environ, Command.SERVE), led=True))
