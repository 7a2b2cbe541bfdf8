"""`python -m pretrain`: the same as the command `imu-pretrain`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # worker processes may import this file under another name
    # `-m` puts the working folder first on the module path, where a user's `types.py`, `random.py` or `eval.py` would
    # be imported in place of the real module. The folder stays only where this package itself was found in it: a clone
    # that is not installed. imu_video/__main__.py has the same lines, because nothing can be imported before them.
    clone = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != clone:
        del sys.path[0]
    from pretrain.cli import main

    main()
