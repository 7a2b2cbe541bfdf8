"""Losses on embeddings: unit-norm embeddings in, one scalar and named statistics out; no models and no data.

The names below are imported at first use. The registry loads them all, which registers the built-in losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.losses import functional
    from imu_video.losses.alignment import SegmentAlignment
    from imu_video.losses.augmented_pair import BarlowTwins, NTXent, VICReg
    from imu_video.losses.base import NEEDS, LossNeeds, PairLoss
    from imu_video.losses.contrastive import InfoNCE, SigmoidPair, SoftTarget
    from imu_video.losses.distill import FeatureRegression, Relational
    from imu_video.losses.hard_negative import HardNegative
    from imu_video.losses.mining import CrossModalMining
    from imu_video.losses.mix import LossMix, Ramp, Term
    from imu_video.losses.multiview import ColloSSL
    from imu_video.losses.queue import NearestNeighbour, QueueDistill

__all__ = [
    "NEEDS",
    "BarlowTwins",
    "ColloSSL",
    "CrossModalMining",
    "FeatureRegression",
    "HardNegative",
    "InfoNCE",
    "LossMix",
    "LossNeeds",
    "NTXent",
    "NearestNeighbour",
    "PairLoss",
    "QueueDistill",
    "Ramp",
    "Relational",
    "SegmentAlignment",
    "SigmoidPair",
    "SoftTarget",
    "Term",
    "VICReg",
    "functional",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "alignment": ["SegmentAlignment"],
        "base": ["NEEDS", "LossNeeds", "PairLoss"],
        "contrastive": ["InfoNCE", "SigmoidPair", "SoftTarget"],
        "distill": ["FeatureRegression", "Relational"],
        "hard_negative": ["HardNegative"],
        "mining": ["CrossModalMining"],
        "mix": ["LossMix", "Ramp", "Term"],
        "multiview": ["ColloSSL"],
        "queue": ["NearestNeighbour", "QueueDistill"],
        "augmented_pair": ["BarlowTwins", "NTXent", "VICReg"],
    },
)
