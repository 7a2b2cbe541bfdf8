"""Any timm image model with its own preprocessing, on single frames; that of a package: timm_frames.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, Finite, Positive
from imu_video.errors import ConfigError
from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher
from imu_video.teachers.pictures import Pooling, middle_frames, pool_frames, pooled_parts
from imu_video.teachers.preprocessing import of_timm
from imu_video.teachers.timm_frames import load_backbone


@teachers.register("timm")
class TimmTeacher(FrozenTeacher):
    """An image model of timm by name, applied to a few frames with the preprocessing it was trained with.

    Size, crop, interpolation and colour statistics are those of timm's data config for these weights (Wightman 2019):
    ``timm:resnet18``, ``timm:vit_small_patch14_dinov2.lvd142m`` and ``timm:vit_base_patch16_siglip_224.v2_webli`` each
    receive the input that they expect. Features are the model's pooled features before its classifier.

    Args:
        model: timm model name, with or without the tag of its weights.
        weights: ``hub`` (timm downloads them), ``random:SEED``, or the path of a safetensors file for the model without
            its head.
        image_size: side of the square network input in pixels, at least 32; None: the model's. Positions of a vision
            transformer are interpolated to another size.
        frames: number of frames, the centres of parts of equal length; fewer if the clip has fewer.
        pooling: see `imu_video.teachers.timm_frames.FrameTeacher`.
        segments: number of parts for pooling ``segments``, at most ``frames``.
        mean: subtracted from the colour channels, 3 values, each finite, in units of 0..255; None: the model's.
        std: divisors of the colour channels, 3 values, each above 0, in units of 0..255; None: the model's.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: unknown model, weights that cannot be loaded or do not fit, another size for a model of one size.

    Example:
        >>> import torch
        >>> teacher = TimmTeacher(model="resnet18", weights="random:0", image_size=32, frames=2)
        >>> teacher.encode(torch.zeros(1, 2, 48, 64, 3, dtype=torch.uint8)).shape
        torch.Size([1, 512])
    """

    def __init__(
        self,
        *,
        model: str,
        weights: str = "hub",
        image_size: Annotated[int, Field(ge=32)] | None = None,
        frames: Count = 8,
        pooling: Pooling = "mean",
        segments: Count = 2,
        mean: Annotated[Sequence[Finite], Field(min_length=3, max_length=3)] | None = None,
        std: Annotated[Sequence[Positive], Field(min_length=3, max_length=3)] | None = None,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        import timm

        if pooling == "segments" and segments > frames:
            raise ConfigError(f"teacher 'timm': segments must be at most frames, got {segments=}, {frames=}")
        backbone = load_backbone(model, weights)
        config = timm.data.resolve_model_data_config(backbone)
        _set_size(backbone, model, image_size, config["input_size"][-2:])
        super().__init__(
            width=int(getattr(backbone, "num_features", 0)) * pooled_parts(pooling, segments), projection=projection
        )
        prepare = of_timm(config, model=model, image_size=image_size)
        self.prepare = replace(prepare, mean=tuple(mean or prepare.mean), std=tuple(std or prepare.std))
        self.model, self.weights, self.frames, self.pooling, self.segments = model, weights, frames, pooling, segments
        published: Any = backbone.pretrained_cfg
        self.source = {key: published.get(key) for key in ("architecture", "tag", "hf_hub_id", "license")}
        self.backbone = backbone
        self.freeze()

    def sample_indices(self, frames: int) -> list[int]:
        """Centres of ``self.frames`` equal parts of a clip of ``frames`` frames."""
        return middle_frames(frames, count=min(self.frames, frames))

    def features(self, inputs: Tensor) -> Tensor:
        batch, frames = inputs.shape[:2]
        each = self.backbone(self.prepare(inputs)).reshape(batch, frames, -1)
        return pool_frames(each, self.pooling, self.segments)

    def recipe(self) -> dict[str, Any]:
        published = self.weights == "hub"
        return {
            "name": "timm",
            "model": self.model,
            "weights": self.weights,
            **({"source": self.source["hf_hub_id"]} if published else {}),
            "transform": self.prepare.describe(),
            "sampler": {"frames": self.frames, "rule": "middles of equal stretches"},
            "pooling": self.pooling if self.pooling != "segments" else f"segments:{self.segments}",
            "licence": (self.source["license"] if published else None) or "see the weights' own terms",
        }


def _set_size(backbone: nn.Module, model: str, wanted: int | None, own: Sequence[int]) -> None:
    """Interpolate the positions of a model of one size to another one; models of any size need nothing."""
    published: Any = backbone.pretrained_cfg
    if wanted is None or tuple(own) == (wanted, wanted) or not published.get("fixed_input_size", False):
        return
    try:
        embedding: Any = backbone.patch_embed
        patch = embedding.patch_size
        if any(wanted % side for side in patch):
            raise ValueError(f"no multiple of its patches of {patch[0]} x {patch[1]} pixels")
        backbone.set_input_size(img_size=(wanted, wanted))  # type: ignore[operator]
    except Exception as error:  # other networks have no patches, and their own rules for sizes
        raise ConfigError(
            f"{model} takes images of {own[0]} x {own[1]} pixels, got image_size {wanted}: {error}",
            hint="leave `image_size` out, or give a multiple of the patch size",
        ) from error
