"""`python -m imu_video`: the same as the command `imu-video`."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # worker processes import this file under another name
    # `-m` puts the working folder first on the path. A user's own `types.py` or `eval.py` in that folder would be
    # imported in place of ours; the command `imu-video` does not have the folder on its path either.
    if not sys.flags.safe_path:
        del sys.path[0]
    from imu_video.cli.app import main

    main()
