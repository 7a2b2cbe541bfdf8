"""torchvision's video models with their own preprocessing as frozen teachers; image models: timm_models.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.errors import ConfigError, nearest
from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher
from imu_video.teachers.pictures import middle_frames
from imu_video.teachers.preprocessing import Preprocessing, in_levels
from imu_video.teachers.timm_frames import load_file_into, seed_of

CLIP = 16
"""Frames of a clip on which these models were trained (their reference recipes); mvit takes no other number."""
_HEADS = ("fc", "classifier", "head")
"""Names of the classifier, which is replaced by the identity."""


@teachers.register("torchvision")
class TorchvisionVideoTeacher(FrozenTeacher):
    """A video model of torchvision, trained on Kinetics-400, applied to a clip with its own preprocessing.

    R3D, MC3 and R(2+1)D-18 (Tran et al. 2018, 512 features), S3D (Xie et al. 2018, 1024), MViT v1-B and v2-S (Fan et
    al. 2021, Li et al. 2022, 768), Video Swin-T, -S and -B (Liu et al. 2022, 768 and 1024): the features that its
    classifier receives. These networks compute motion, unlike image models on single frames.

    Args:
        model: ``r3d_18``, ``mc3_18``, ``r2plus1d_18``, ``s3d``, ``mvit_v1_b``, ``mvit_v2_s``, ``swin3d_t``,
            ``swin3d_s`` or ``swin3d_b``.
        weights: ``hub`` (downloaded once from the address that torchvision states), ``random:SEED``, or the path of a
            safetensors file for the model without its classifier.
        frames: number of frames, the centres of parts of equal length (repeated if the clip has fewer); 16 is the
            training length, sensible 1 to 128 for most models.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: unknown model, weights that cannot be loaded or do not fit, a number of frames that it cannot take.

    Example:
        ``imu-video embed data/mine torchvision:r3d_18``
    """

    def __init__(
        self,
        *,
        model: str,
        weights: str = "hub",
        frames: Count = CLIP,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        published = _published(model)
        least = published.meta.get("min_temporal_size") or 1
        if frames < least or (model.startswith("mvit") and frames != CLIP):
            takes = f"{CLIP}" if model.startswith("mvit") else f"at least {least}"
            raise ConfigError(f"teacher 'torchvision': {model} takes {takes} frames, got frames {frames}")
        network, width = load_video_model(model, weights)
        super().__init__(width=width, projection=projection)
        self.model, self.weights, self.frames = model, weights, frames
        self.address = str(published.url) if weights == "hub" else None
        self.prepare = preprocessing_of(published.transforms())
        self.network = network
        self.freeze()

    def sample_indices(self, frames: int) -> list[int]:
        """Centres of ``self.frames`` equal parts of a clip of ``frames`` frames, some repeated in a short clip."""
        return middle_frames(frames, count=self.frames)

    def features(self, inputs: Tensor) -> Tensor:
        batch, frames = inputs.shape[:2]
        if frames != self.frames:
            raise ValueError(f"{self.model} takes clips of {self.frames} frames, got {frames}")
        clips = self.prepare(inputs).unflatten(0, (batch, frames)).transpose(1, 2)
        out: Tensor = self.network(clips)
        return out.flatten(1)

    def recipe(self) -> dict[str, Any]:
        return {
            "name": "torchvision",
            "model": self.model,
            "weights": self.weights,
            **({"source": self.address} if self.address else {}),
            "transform": self.prepare.describe(),
            "sampler": {"frames": self.frames, "rule": "middles of equal stretches"},
            "licence": "torchvision is BSD-3-Clause; its Kinetics-400 weights have the terms of that data set"
            if self.address
            else "see the weights' own terms",
        }


def _published(model: str) -> Any:
    """torchvision's default weights of a video model: address, transform, facts.

    Raises:
        ConfigError: unknown model.
    """
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models.video)
    if model not in names:
        raise ConfigError(
            f"torchvision has no video model {model!r}{nearest(model, names)}",
            hint=f"one of {', '.join(names)}; image models: teacher `timm`",
        )
    return torchvision.models.get_model_weights(model).DEFAULT


def preprocessing_of(transform: Any) -> Preprocessing:
    """The preprocessing of a torchvision video preset, which resizes without anti-aliasing.

    Args:
        transform: ``weights.transforms()`` of a video model.
    """
    resize = list(transform.resize_size)
    return Preprocessing(
        size=(transform.crop_size[0], transform.crop_size[-1]),
        resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
        interpolation=transform.interpolation.value,
        antialias=False,
        mean=in_levels(transform.mean),
        std=in_levels(transform.std),
    )


def load_video_model(model: str, weights: str) -> tuple[nn.Module, int]:
    """A video model without its classifier, and its number of features.

    Raises:
        ConfigError: weights that cannot be loaded or do not fit.
    """
    import torchvision

    published = _published(model)
    seed = seed_of(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network: nn.Module = torchvision.models.get_model(model, weights=None)
    if weights == "hub":
        try:
            state = torch.hub.load_state_dict_from_url(
                published.url, progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
            network.load_state_dict(state)
        except Exception as error:  # many types are possible; a failure must not end in random weights
            raise ConfigError(
                f"weights of {model!r} could not be downloaded: {type(error).__name__}: {error}",
                hint="check the connection, or give weights: PATH.safetensors",
            ) from error
    head = next(name for name in _HEADS if hasattr(network, name))
    last = [m for m in getattr(network, head).modules() if isinstance(m, nn.Linear | nn.Conv3d)][-1]
    width = int(last.in_features if isinstance(last, nn.Linear) else last.in_channels)
    setattr(network, head, nn.Identity())
    if weights != "hub" and seed is None:
        load_file_into(network, Path(weights))
    return network, width
