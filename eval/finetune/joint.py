"""Two encoders trained together on labels: IMU and another modality, a head on each and on both; no schedule."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from eval.finetune.network import Network, feature_norm
from imu_video.bundle.encoder import EncoderBundle
from imu_video.runtime.distributed import GlobalDraws
from imu_video.sides import TowerBundle

HEADS = ("imu", "teacher", "fused")
"""Heads of a `JointNetwork` in order; the names are those of a method's ``inputs``."""


class JointNetwork(Network):
    """Linear heads on the IMU encoder, the encoder of another modality, and both, trained on the same targets.

        loss = CE(A LN(z)) + CE(B LN(v)) + CE(C [LN(z), LN(v)])

    z are the features of the IMU encoder and v those of the other encoder. The loss of the fused head trains both
    encoders. In training, the other encoder augments its input, if its class has an augmentation (skeletons are turned,
    for example). If only the IMU is available at test time, the IMU head is used; the other modality is then privileged
    information, available in training only (Vapnik and Vashist 2009).

    Args:
        bundle: the IMU encoder, trained.
        tower: the encoder of the other modality, trained.
        classes: M.
        norm, precision: see `NetworkConfig`.

    Shapes: imu (B, C, T) in SI units, mask (B, C, T), extra (B, ...) in the axes of the tower's modality
        -> (3, B, M), see `HEADS`.
    """

    def __init__(
        self,
        *,
        bundle: EncoderBundle,
        tower: TowerBundle,
        classes: int,
        norm: bool = True,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        super().__init__(bundle=bundle, classes=classes, norm=norm, precision=precision)
        self.tower = tower
        self.tower_norm = feature_norm(tower.feature_dim, norm)
        self.tower_linear = nn.Linear(tower.feature_dim, classes)
        self.both_linear = nn.Linear(bundle.feature_dim + tower.feature_dim, classes)

    def forward(
        self, imu: Tensor, mask: Tensor, extra: Tensor | None = None, draws: GlobalDraws | None = None
    ) -> Tensor:
        assert extra is not None
        with torch.autocast(imu.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            other = self.tower.tower(extra, draws)
        z, v = self.norm(self.features(imu, mask)), self.tower_norm(other.float())
        return torch.stack([self.linear(z), self.tower_linear(v), self.both_linear(torch.cat([z, v], dim=1))])

    def encoders(self) -> list[nn.Module]:
        return [self.bundle, self.tower]


def untrained_tower(tower: TowerBundle) -> TowerBundle:
    """The same architecture with weights from torch's random state; its own buffers (the vertical axis) are kept."""
    twin = TowerBundle(tower.config)
    twin.tower.load_state_dict(dict(tower.tower.named_buffers(recurse=False)), strict=False)
    return twin


def copied_tower(tower: TowerBundle) -> TowerBundle:
    """A copy with the same weights that shares no tensor with the original."""
    twin = TowerBundle(tower.config)
    twin.load_state_dict(tower.state_dict())
    return twin
