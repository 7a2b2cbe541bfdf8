"""IMU and skeleton encoders trained together on labels, a head on each and one on both; no schedule here."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from eval.finetune.network import Network
from imu_video.bundle.encoder import EncoderBundle
from imu_video.runtime.distributed import GlobalDraws
from imu_video.sides import TowerBundle

HEADS = ("imu", "teacher", "fused")
"""The heads of a `JointNetwork` in order, named as a method's ``inputs``."""


class JointNetwork(Network):
    """Linear heads on the IMU encoder, on the skeleton encoder, and on both side by side; all see the same targets.

        loss = CE(A LN(z)) + CE(B LN(v)) + CE(C [LN(z), LN(v)]),    z the IMU's features, v the skeleton's

    Both encoders learn from the fused head's error as well. In training skeletons are shown in random views. The IMU's
    head answers where no skeleton is there when asked: the skeleton is then known in training only (Vapnik and Vashist
    2009, learning using privileged information).

    Args:
        bundle: the IMU encoder, trained along.
        tower: the skeleton encoder, trained along.
        classes: M.
        precision: see `NetworkConfig`.

    Shapes: imu (B, C, T) in SI units, mask (B, C, T), extra (B, F, J, 3) skeletons in metres -> (3, B, M), see `HEADS`.
    """

    def __init__(
        self, *, bundle: EncoderBundle, tower: TowerBundle, classes: int, precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        super().__init__(bundle=bundle, classes=classes, precision=precision)
        self.tower = tower
        self.tower_norm = nn.LayerNorm(tower.feature_dim)
        self.tower_linear = nn.Linear(tower.feature_dim, classes)
        self.both_linear = nn.Linear(bundle.feature_dim + tower.feature_dim, classes)

    def forward(
        self, imu: Tensor, mask: Tensor, extra: Tensor | None = None, draws: GlobalDraws | None = None
    ) -> Tensor:
        assert extra is not None
        with torch.autocast(imu.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            seen = self.tower.tower(extra, draws)
        z, v = self.norm(self.features(imu, mask)), self.tower_norm(seen.float())
        return torch.stack([self.linear(z), self.tower_linear(v), self.both_linear(torch.cat([z, v], dim=1))])

    def encoders(self) -> list[nn.Module]:
        return [self.bundle, self.tower]


def untrained_tower(tower: TowerBundle) -> TowerBundle:
    """The same architecture with weights from torch's random state; its own buffers (the vertical) stay."""
    twin = TowerBundle(tower.config)
    twin.tower.load_state_dict(dict(tower.tower.named_buffers(recurse=False)), strict=False)
    return twin


def copied_tower(tower: TowerBundle) -> TowerBundle:
    """A copy that shares no tensor."""
    twin = TowerBundle(tower.config)
    twin.load_state_dict(tower.state_dict())
    return twin
