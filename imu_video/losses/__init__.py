"""Cross-modal objectives: unit-norm embeddings in, one scalar and named numbers out; models and data live elsewhere.

Importing this package registers the built-in losses.
"""

from __future__ import annotations

from imu_video.losses.base import LossMix, PairLoss
from imu_video.losses.contrastive import InfoNCE, SigmoidPair

__all__ = ["InfoNCE", "LossMix", "PairLoss", "SigmoidPair"]
