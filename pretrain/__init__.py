"""Pretraining: launch, training loop, checkpoints, export; the command is `imu-pretrain`, the function `run.run`."""
