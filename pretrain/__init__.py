"""Pretraining: launching, the loop, checkpoints, export; the command is `imu-pretrain`, the function `run.run`."""
