"""IMU encoders: normalised windows (B, C, T) in, features (B, E) out; projections and losses live elsewhere.

Importing this package registers the built-in encoders.
"""

from __future__ import annotations

from imu_video.encoders.channel_transformer import HaroodTransformer
from imu_video.encoders.cnn import TPN, HaroodCNN
from imu_video.encoders.cnn_gru import CnnGru
from imu_video.encoders.cnn_transformer import CnnTransformer
from imu_video.encoders.patch_transformer import PatchTST
from imu_video.encoders.resnet1d import ResNet1d
from imu_video.encoders.segment_cnn import SegmentCNN

__all__ = ["TPN", "CnnGru", "CnnTransformer", "HaroodCNN", "HaroodTransformer", "PatchTST", "ResNet1d", "SegmentCNN"]
