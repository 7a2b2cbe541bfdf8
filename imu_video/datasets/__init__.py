"""Adapters, one a file: a dataset's own files in, Recordings out; importing this package registers them all."""

from imu_video.datasets import folder, gopro, hapt, synthetic, utd_mhad

__all__ = ["folder", "gopro", "hapt", "synthetic", "utd_mhad"]
