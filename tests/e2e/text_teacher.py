"""A plugin file for tests of imu-eval: a teacher that sees a clip's colour and knows the colours of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher

COLOURS = {"jump": (80, 0, 17), "run": (0, 80, 17), "sit": (0, 0, 97), "walk": (130, 0, 17)}


@teachers.register("test_colour")
class ColourTeacher(FrozenTeacher):
    """Mean colour of a clip; a sentence is the colour of the activity that it names."""

    def __init__(self) -> None:
        super().__init__(width=3)
        self.freeze()

    def features(self, inputs: Tensor) -> Tensor:
        return inputs.float().mean(dim=(1, 2, 3)) / 100

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([next(c for word, c in COLOURS.items() if word in text) for text in texts]) / 100

    def recipe(self) -> dict[str, Any]:
        return {"name": "test_colour"}
