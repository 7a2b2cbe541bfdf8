"""Windows, labels, features and splits for evaluation; no protocol lives here.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from eval.data.embeddings import embed_imu, embed_video
    from eval.data.features import compute_features, encoder_features, handcrafted_features
    from eval.data.splits import Domain, Episodes, Slice, draw_episodes, refuse_training_subjects
    from eval.data.windows import LabelledWindows, load_windows

__all__ = [
    "Domain",
    "Episodes",
    "LabelledWindows",
    "Slice",
    "compute_features",
    "draw_episodes",
    "embed_imu",
    "embed_video",
    "encoder_features",
    "handcrafted_features",
    "load_windows",
    "refuse_training_subjects",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "embeddings": ["embed_imu", "embed_video"],
        "features": ["compute_features", "encoder_features", "handcrafted_features"],
        "splits": ["Domain", "Episodes", "Slice", "draw_episodes", "refuse_training_subjects"],
        "windows": ["LabelledWindows", "load_windows"],
    },
)
