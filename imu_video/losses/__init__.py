"""Cross-modal objectives: unit-norm embeddings in, one scalar and named numbers out; models and data live elsewhere.

Importing this package registers the built-in losses.
"""

from __future__ import annotations

from imu_video.losses.alignment import SegmentAlignment
from imu_video.losses.base import NEEDS, PairLoss
from imu_video.losses.contrastive import InfoNCE, SigmoidPair, SoftTarget
from imu_video.losses.distill import FeatureRegression, Relational
from imu_video.losses.hard_negative import HardNegative
from imu_video.losses.mining import CrossModalMining
from imu_video.losses.mix import LossMix, Ramp
from imu_video.losses.multiview import ColloSSL
from imu_video.losses.queue import NearestNeighbour, QueueDistill
from imu_video.losses.views import BarlowTwins, NTXent, VICReg

__all__ = [
    "NEEDS",
    "BarlowTwins",
    "ColloSSL",
    "CrossModalMining",
    "FeatureRegression",
    "HardNegative",
    "InfoNCE",
    "LossMix",
    "NTXent",
    "NearestNeighbour",
    "PairLoss",
    "QueueDistill",
    "Ramp",
    "Relational",
    "SegmentAlignment",
    "SigmoidPair",
    "SoftTarget",
    "VICReg",
]
