"""The model that pretraining optimises, its projection heads, and projectors saved with an exported encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.models.cross_modal import CrossModalModel, ProjectionHead, projection_head
    from imu_video.models.projectors import ProjectorFacts, load_pair_model, save_projectors

__all__ = [
    "CrossModalModel",
    "ProjectionHead",
    "ProjectorFacts",
    "load_pair_model",
    "projection_head",
    "save_projectors",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "cross_modal": ["CrossModalModel", "ProjectionHead", "projection_head"],
        "projectors": ["ProjectorFacts", "load_pair_model", "save_projectors"],
    },
)
