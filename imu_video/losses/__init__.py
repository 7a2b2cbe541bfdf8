"""Cross-modal objectives: unit-norm embeddings in, one scalar and named numbers out; models and data live elsewhere.

Importing this package registers the built-in losses.
"""

from __future__ import annotations

from imu_video.losses.base import NEEDS, PairLoss
from imu_video.losses.contrastive import InfoNCE, SigmoidPair
from imu_video.losses.mix import LossMix, Ramp

__all__ = ["NEEDS", "InfoNCE", "LossMix", "PairLoss", "Ramp", "SigmoidPair"]
