"""`python -m minidiff`: see `minidiff.cli`."""

import sys

from minidiff.cli.main import main

sys.exit(main())
