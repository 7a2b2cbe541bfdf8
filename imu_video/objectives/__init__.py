"""Training tasks on the student: they receive raw windows, have their own heads and may run the student repeatedly.

Losses on embeddings are in `imu_video.losses`. The names below are imported at first use; the registry loads them all,
which registers the built-in objectives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.objectives.base import Objective, ObjectiveMix
    from imu_video.objectives.masked import MaskedPatches
    from imu_video.objectives.text_alignment import TextAlignment
    from imu_video.objectives.transformations import Transformations

__all__ = ["MaskedPatches", "Objective", "ObjectiveMix", "TextAlignment", "Transformations"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["Objective", "ObjectiveMix"],
        "masked": ["MaskedPatches"],
        "text_alignment": ["TextAlignment"],
        "transformations": ["Transformations"],
    },
)
