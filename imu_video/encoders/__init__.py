"""IMU encoders: normalised windows (B, C, T) in, features (B, E) out; projections and losses live elsewhere.

Importing this package registers the built-in encoders.
"""

from __future__ import annotations

from imu_video.encoders.patch_transformer import PatchTST

__all__ = ["PatchTST"]
