"""`python -m pretrain`: the same as the command `imu-pretrain`."""

from __future__ import annotations

from pretrain.cli import main

main()
