"""A model's own preprocessing of frames: resize, crop, normalise, as its authors published it; no models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.errors import ConfigError

Interpolation = Literal["nearest", "bilinear", "bicubic"]
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize frames, crop their centre and normalise their colours.

    Args:
        size: height and width of the network input in pixels.
        resize: length of the short side after resizing (the aspect ratio is kept), or height and width.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        antialias: low-pass filter before reduction.
        mean: subtracted from each colour channel, in units of 0..255.
        std: divisor of each colour channel, in the same units.

    Example:
        >>> prepare = Preprocessing(size=(4, 4), resize=5, interpolation="bilinear", mean=(127,) * 3, std=(128,) * 3)
        >>> prepare(torch.full((2, 10, 20, 3), 255, dtype=torch.uint8)).unique().tolist(), prepare.describe()["resize"]
        ([1.0], 5)
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    interpolation: Interpolation
    antialias: bool = True
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Shapes: (..., H, W, 3) uint8 -> (N, 3, h, w) float32, with all leading axes flattened into N."""
        pictures = inputs.reshape(-1, *inputs.shape[-3:]).permute(0, 3, 1, 2)
        target = self.resized(*pictures.shape[-2:])
        if target != tuple(pictures.shape[-2:]):
            smooth = self.interpolation != "nearest"
            pictures = F.interpolate(
                pictures.float(),
                size=target,
                mode=self.interpolation,
                antialias=self.antialias and smooth,
                align_corners=False if smooth else None,
            )
            # The published transforms resize images of whole numbers; bicubic weights leave their range.
            pictures = pictures.round().clamp(0, 255)
        pictures = self._cropped(pictures.float())
        centre, spread = (torch.tensor(x, device=inputs.device).view(3, 1, 1) for x in (self.mean, self.std))
        return ((pictures - centre) / spread).contiguous()

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of frames of a given size after resizing."""
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = min(height, width), max(height, width)
        other = int(self.resize * long / short)
        return (self.resize, other) if height <= width else (other, self.resize)

    def _cropped(self, pictures: Tensor) -> Tensor:
        height, width = self.size
        above, left = height - pictures.shape[-2], width - pictures.shape[-1]
        if above > 0 or left > 0:  # a frame below the size of the crop has a black frame
            above, left = max(above, 0), max(left, 0)
            pictures = F.pad(pictures, (left // 2, left - left // 2, above // 2, above - above // 2))
        top = round((pictures.shape[-2] - height) / 2)
        start = round((pictures.shape[-1] - width) / 2)
        return pictures[..., top : top + height, start : start + width]

    def describe(self) -> dict[str, Any]:
        """All settings as JSON, for the description of a teacher."""
        return {
            "size": list(self.size),
            "resize": list(self.resize) if isinstance(self.resize, tuple) else self.resize,
            "interpolation": self.interpolation + ("" if self.antialias else ", no anti-aliasing"),
            "crop": "centre",
            "mean": [round(x, 6) for x in self.mean],
            "std": [round(x, 6) for x in self.std],
        }


def of_timm(config: Mapping[str, Any], *, model: str, image_size: int | None = None) -> Preprocessing:
    """Preprocessing of a timm data config, as timm applies it in evaluation.

    Args:
        config: ``timm.data.resolve_model_data_config`` of the model.
        model: for errors.
        image_size: side of another network input; None: the model's.

    Raises:
        ConfigError: an interpolation or crop mode without an implementation here.

    Example:
        >>> config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"}
        >>> of_timm({**config, "mean": (0.5,) * 3, "std": (0.5,) * 3}, model="x").resize
        256
    """
    _, height, width = config["input_size"] if image_size is None else (3, image_size, image_size)
    mode = config["crop_mode"]
    known(mode, ("center", "squash"), f"{model}: crop mode")
    known(config["interpolation"], _INTERPOLATIONS, f"{model}: interpolation")
    known(height == width or mode == "squash", (True,), f"{model}: square input")
    scaled = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
    return Preprocessing(
        size=(height, width),
        resize=scaled[0] if mode == "center" else (scaled[0], scaled[1]),
        interpolation=config["interpolation"],
        mean=in_levels(config["mean"]),
        std=in_levels(config["std"]),
    )


def of_processor(config: Mapping[str, Any], *, model: str, image_size: int) -> Preprocessing:
    """Preprocessing of a ``preprocessor_config.json`` of the Hugging Face hub.

    Args:
        config: content of the file.
        model: for errors.
        image_size: side of the network input; another one than the file's scales its resizing in proportion.

    Raises:
        ConfigError: settings without an implementation here.

    Example:
        >>> clip = {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3, "image_mean": [0.5] * 3}
        >>> of_processor({**clip, "image_std": [0.5] * 3}, model="x", image_size=224).interpolation
        'bicubic'
    """
    for key in ("image_mean", "image_std"):
        if not isinstance(config.get(key), list) or len(config[key]) != 3:
            raise ConfigError(
                f"{model}: preprocessor_config.json: {key} must be three numbers, got {config.get(key)!r}",
                hint="give mean and std, in units of 0..255",
            )
    resample = config.get("resample", 2)
    known(resample, (0, 2, 3), f"{model}: preprocessor_config.json: resample")
    factor = config.get("rescale_factor", 1 / 255)
    known(config.get("do_normalize", True) and abs(factor * 255 - 1) < 0.01, (True,), f"{model}: colours in [0, 1]")
    size = config.get("size", image_size)
    crop = _sides(config.get("crop_size", image_size)) if config.get("do_center_crop", "crop_size" in config) else None
    resize: int | tuple[int, int]
    if isinstance(size, Mapping) and "shortest_edge" in size:
        resize = int(size["shortest_edge"])
        own = crop[0] if crop else resize
    else:
        resize = _sides(size)
        own = crop[0] if crop else resize[0]
    if own != image_size:  # another size of input: the same part of the frame
        scale = image_size / own
        resize = round(resize * scale) if isinstance(resize, int) else (round(resize[0] * scale), image_size)
    return Preprocessing(
        size=(image_size, image_size),
        resize=resize,
        interpolation={0: "nearest", 2: "bilinear", 3: "bicubic"}[resample],  # type: ignore[arg-type]
        mean=in_levels(config["image_mean"]),
        std=in_levels(config["image_std"]),
    )


def _sides(size: Any) -> tuple[int, int]:
    """Height and width of a size as the hub's files state it: a number, or a mapping."""
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    return int(size), int(size)


def in_levels(values: Sequence[float]) -> tuple[float, ...]:
    """Colour statistics of [0, 1] in units of 0..255."""
    return tuple(255.0 * float(value) for value in values)


def known(value: Any, accepted: Sequence[Any], what: str) -> None:
    """Check a setting of a published preprocessing.

    Args:
        value, accepted: the setting, and those that are implemented.
        what: model and name of the setting, for the error.

    Raises:
        ConfigError: another setting.
    """
    if value not in accepted:
        raise ConfigError(
            f"{what} {value!r} is not implemented (implemented: {', '.join(map(str, accepted))})",
            hint="use another model, or teacher `frames` with mean and std of your own",
        )
