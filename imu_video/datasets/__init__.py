"""Adapters, one a file: a dataset's own files in, Recordings out; importing this package registers them all."""

from imu_video.datasets import (
    berkeley_mhad,
    daphnet,
    folder,
    gopro,
    hapt,
    mobilise_d,
    sp_sw_har,
    synthetic,
    ucihar,
    umafall,
    utd_mhad,
)

__all__ = [
    "berkeley_mhad",
    "daphnet",
    "folder",
    "gopro",
    "hapt",
    "mobilise_d",
    "sp_sw_har",
    "synthetic",
    "ucihar",
    "umafall",
    "utd_mhad",
]
