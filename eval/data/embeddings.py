"""Embeddings of windows and of their own videos in the space of a pretrained pair model; nothing is classified here."""

from __future__ import annotations

import numpy as np
import torch

from eval.data.windows import LabelledWindows
from imu_video.errors import ConfigError
from imu_video.models.cross_modal import CrossModalModel


def embed_imu(model: CrossModalModel, windows: LabelledWindows, *, batch_size: int = 256) -> np.ndarray:
    """Unit-norm embeddings (N, D) of windows, resampled and normalised as trained."""
    features = model.student.encode(
        windows.x, rate_hz=windows.rate_hz, channels=windows.channels, batch_size=batch_size
    )
    with torch.inference_mode():
        projected = model.imu_projector(torch.from_numpy(features[:, model.student.head_columns])).float()
        return np.asarray(torch.nn.functional.normalize(projected, dim=-1))


def embed_video(model: CrossModalModel, windows: LabelledWindows) -> np.ndarray:
    """Unit-norm embeddings (N, D) of the windows' teacher features; NaN rows for samples without any.

    Raises:
        ConfigError: the windows were loaded without a teacher.
    """
    if windows.teacher is None:
        raise ConfigError("these windows have no teacher features", hint="compute them: imu-video embed DATA TEACHER")
    known = np.isfinite(windows.teacher).all(axis=1)
    with torch.inference_mode():
        embedded = np.asarray(model.embed_teacher(torch.from_numpy(windows.teacher[known].astype(np.float32))))
    out = np.full((len(windows), embedded.shape[1]), np.nan, dtype=np.float32)
    out[known] = embedded
    return out
