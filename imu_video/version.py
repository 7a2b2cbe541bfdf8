"""Version of the installed package; a module of its own, so that lower layers need not import `imu_video` itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("imu-video")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
