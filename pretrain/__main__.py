"""`python -m pretrain`: the same as the command `imu-pretrain`."""

from __future__ import annotations

import os
import sys

# `python -m` puts the working folder first on the module path, where a user's `random.py` or `eval.py` would be taken
# for the real module by what is imported below. It stays only where it is the folder that this package was found in.
if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != os.path.dirname(
    os.path.dirname(os.path.realpath(__file__))
):
    del sys.path[0]

from pretrain.cli import main

main()
