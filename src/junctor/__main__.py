"""`python -m junctor` is the command `junctor`."""

import sys

from junctor.cli.main import main

sys.exit(main())
