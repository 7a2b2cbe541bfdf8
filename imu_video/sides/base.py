"""Exported towers: weights and constructor arguments in a folder of the encoder; networks are in skeleton.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from imu_video import registry
from imu_video.bundle.folder import CONFIG, WEIGHTS, FolderFormat, config_text, load_weights
from imu_video.errors import CheckpointError, ConfigError
from imu_video.runtime.files import write_atomic
from imu_video.runtime.references import restored
from imu_video.types import JsonDict

FOLDER = FolderFormat(
    name="imu-video-tower",
    version=1,
    what="tower",
    command="imu-pretrain export RUN OUT --with-side MODALITY",
    required=("tower", "lineage"),
)
"""Format of a tower's folder on the disk."""


class TowerBundle(nn.Module):
    """A tower together with the arguments that rebuild it.

    Args:
        tower: config entry of a registered tower, including the arguments that training takes from the data
            (``joints``).
        context: the same arguments, if they are not in ``tower``.

    Example:
        >>> bundle = TowerBundle({"name": "skeleton", "width": 4}, joints=["pelvis", "neck", "left_hip", "right_hip"])
        >>> bundle.encode(np.random.default_rng(0).normal(size=(2, 30, 4, 3))).shape
        (2, 64)
    """

    def __init__(self, tower: Mapping[str, Any] | str, **context: Any) -> None:
        super().__init__()
        name, arguments = registry.towers.arguments(tower, **context)
        self.config: JsonDict = {"name": name, **arguments}
        self.tower: nn.Module = registry.towers.get(name)(**arguments)
        self.modality = str(self.tower.modality)
        self.feature_dim = int(self.tower.feature_dim)

    @torch.inference_mode()
    def encode(self, inputs: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Features (N, Dt) float32 in evaluation mode; NaN for samples that the tower cannot encode.

        Args:
            inputs: (N, ...) samples of the tower's modality: skeletons are (N, F, J, 3) in metres.
            batch_size: samples per forward pass.
        """
        was = self.training
        self.eval()
        pieces = []
        for first in range(0, len(inputs), batch_size):
            rows = torch.from_numpy(np.array(inputs[first : first + batch_size], np.float32))
            pieces.append(self.tower(rows.to(next(self.parameters()).device)).float().cpu().numpy())
        self.train(was)
        return np.concatenate(pieces) if pieces else np.zeros((0, self.feature_dim), np.float32)

    def save(self, folder: str | Path, *, lineage: Mapping[str, Any] | None = None) -> Path:
        """Write weights and config.json into a folder, which is created if needed; existing files are replaced.

        Args:
            folder: usually ``ENCODER/<modality>``.
            lineage: JSON facts about the origin of the weights.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        joints = {"joints": list(self.config["joints"])} if "joints" in self.config else {}
        shape = {"tower": {**self.config, **joints}, "modality": self.modality, "feature_dim": self.feature_dim}
        config, weights = FOLDER.pack(shape, self.tower, origin={"lineage": restored(lineage or {})})
        write_atomic(target / WEIGHTS, weights)
        write_atomic(target / CONFIG, config_text(config))
        return target


def load_tower(folder: str | Path) -> TowerBundle:
    """Read an exported tower, in evaluation mode.

    Args:
        folder: written by `imu-pretrain export --with-side`, for example ``OUT/skeleton``.

    Raises:
        CheckpointError: a missing, damaged or foreign folder.

    Example:
        ``load_tower("encoder/skeleton").encode(skeletons)``
    """
    config, weights = FOLDER.read(folder)
    try:
        bundle = TowerBundle(config["tower"])
    except ConfigError as error:
        raise CheckpointError(f"{Path(folder) / CONFIG}: {error.message}", hint=error.hint) from error
    load_weights(bundle.tower, weights, folder=folder, built_from=f"tower {config['tower']}")
    return bundle.eval()
