"""Video and image transformers of the Hugging Face hub as frozen teachers: VideoMAE, V-JEPA 2, CLIP ...; extra `hf`."""

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
from imu_video.runtime import documents
from imu_video.teachers.base import FrozenTeacher
from imu_video.teachers.packages import package, without_progress
from imu_video.teachers.pictures import StatedColours, middle_frames
from imu_video.teachers.preprocessing import Preprocessing, of_processor

VIDEO_MODELS = ("videomae", "timesformer", "vivit", "vjepa2")
"""Model types that take clips; their features are the mean of ``last_hidden_state`` over all tokens."""
IMAGE_MODELS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model", "dinov2", "dinov3_vit", "vit")
"""Image model types; their pooled outputs are averaged over the frames."""
_ANY_SIZE = ("dinov2", "dinov3_vit", "vjepa2")
"""Types whose positions are interpolated or relative."""


@teachers.register("hf")
class HubTeacher(FrozenTeacher):
    """A transformer of the hub, or of a local folder in its format, applied to a clip.

    The teachers of IMU-Video-OOD-HAR and COMODO (VideoMAE, Tong et al. 2022; TimeSformer, Bertasius et al. 2021: mean
    over the tokens of the last layer) and of IMU2CLIP (the image side of CLIP, Radford et al. 2021: mean over frames of
    the projected image); V-JEPA 2 (Assran et al. 2025: the encoder without its predictor, mean over tokens). Size,
    crop, interpolation and colours are those of the model's own ``preprocessor_config.json``. Only safetensors are
    read, and no code of a repository is executed. Needs ``pip install imu-video[hf]``; the hub client downloads the
    weights once.

    Args:
        model: repository (``MCG-NJU/videomae-base-finetuned-kinetics``) or folder.
        revision: branch, tag or commit of the repository; use a commit for reproducible runs.
        frames: number of frames, the centres of parts of equal length (repeated if the clip has fewer); None: the
            number that the model was trained with, 8 for image models.
        image_size: side of the network input in pixels, at least 8; None: the model's.
        mean: subtracted from the colour channels, 3 values, each finite, in units of 0..255; with ``std``, in place of
            the model's own preprocessing: frames are then cropped to their central square and scaled bilinearly. None:
            the model's own.
        std: divisors of the colour channels, 3 values, each above 0, in the same units; None: the model's own.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: transformers is not installed, the model cannot be loaded, its type is not supported, or it states
            no preprocessing.

    Example:
        ``imu-video embed data/mine configs/teacher/videomae.yaml``
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str = "main",
        frames: Count | None = None,
        image_size: Annotated[int, Field(ge=8)] | None = None,
        mean: Annotated[Sequence[Finite], Field(min_length=3, max_length=3)] | None = None,
        std: Annotated[Sequence[Positive], Field(min_length=3, max_length=3)] | None = None,
        projection: str | Mapping[str, Any] = "identity",
    ) -> None:
        if (mean is None) != (std is None):
            raise ConfigError("teacher 'hf': mean and std belong together, one of them is missing")
        network, config = load_network(model, revision)
        video = config.model_type in VIDEO_MODELS
        trained: Any = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", 8)
        wanted = int(trained) if video else 8
        if video and frames not in (None, wanted):
            raise ConfigError(f"teacher 'hf': {model} was trained on {wanted} frames, got frames {frames}")
        own = int(getattr(config, "image_size", None) or config.crop_size)
        size = image_size or own
        if size != own and config.model_type not in _ANY_SIZE:
            raise ConfigError(
                f"teacher 'hf': {model} takes images of {own} x {own} pixels, got image_size {size}",
                hint="leave `image_size` out",
            )
        width = int(getattr(config, "projection_dim", 0)) if _projects(config) else int(config.hidden_size)
        super().__init__(width=width, projection=projection)
        self.model, self.revision, self.model_type = model, revision, str(config.model_type)
        self.frames, self.image_size = frames or wanted, size
        self.prepare: Preprocessing | StatedColours
        if mean is None or std is None:
            self.prepare = of_processor(_processor_config(model, revision), model=model, image_size=size)
        else:
            self.prepare = StatedColours(image_size=size, mean=tuple(mean), std=tuple(std))
        self.network = network
        self.freeze()

    def sample_indices(self, frames: int) -> list[int]:
        """Centres of ``self.frames`` equal parts of a clip of ``frames`` frames, some repeated in a short clip."""
        return middle_frames(frames, count=self.frames)

    def features(self, inputs: Tensor) -> Tensor:
        batch, frames = inputs.shape[:2]
        pictures = self.prepare(inputs)
        if self.model_type in VIDEO_MODELS:
            if frames != self.frames:
                raise ValueError(f"{self.model} takes clips of {self.frames} frames, got {frames}")
            clips = pictures.unflatten(0, (batch, frames))
            out = (
                self.network(pixel_values_videos=clips, skip_predictor=True)
                if self.model_type == "vjepa2"
                else self.network(pixel_values=clips)
            )
            mean: Tensor = out.last_hidden_state.mean(1)
            return mean
        out = self.network(pixel_values=pictures)
        each = out.image_embeds if hasattr(out, "image_embeds") else out.pooler_output
        return each.unflatten(0, (batch, frames)).mean(1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        tokenizer, network = load_text_tower(self.model, self.revision)
        tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            embedded: Tensor = network(**tokens).text_embeds
        if embedded.shape[1] != self.projection.width:
            raise ConfigError(f"{self.model}: texts have {embedded.shape[1]} features, images {self.projection.width}")
        return embedded

    def recipe(self) -> dict[str, Any]:
        return {
            "name": "hf",
            "model": self.model,
            "revision": self.revision,
            "transform": self.prepare.describe(),
            "sampler": {"frames": self.frames, "rule": "middles of equal stretches"},
            "pooling": "mean over tokens" if self.model_type in VIDEO_MODELS else "mean over frames",
            "licence": "see the model's card on the hub",
        }


def load_network(model: str, revision: str) -> tuple[nn.Module, Any]:
    """The vision network of a hub model and its config.

    Raises:
        ConfigError: transformers is missing, the model cannot be loaded, or its type is not supported.
    """
    transformers: Any = package("transformers", user="teacher 'hf'", extra="hf")
    known = [*VIDEO_MODELS, *IMAGE_MODELS]
    try:
        config = transformers.AutoConfig.from_pretrained(model, revision=revision)
        if config.model_type not in known:
            raise ConfigError(f"teacher 'hf': {model} is a {config.model_type!r}; supported: {', '.join(known)}")
        kind: Any = transformers.AutoModel
        if config.model_type in ("clip", "clip_vision_model"):
            kind, config = transformers.CLIPVisionModelWithProjection, getattr(config, "vision_config", config)
        elif config.model_type == "siglip":
            kind, config = transformers.SiglipVisionModel, config.vision_config
        with without_progress(transformers):
            network = kind.from_pretrained(model, revision=revision, use_safetensors=True)
    except ConfigError:
        raise
    except Exception as error:  # the hub client raises many types; a failure must not end in random weights
        raise ConfigError(
            f"teacher 'hf': {model!r} could not be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="check the name, the connection and that the repository has safetensors, or give a local folder; "
            "teacher `frames` needs no download",
        ) from error
    return network.to(torch.float32), config


def _processor_config(model: str, revision: str) -> Mapping[str, Any]:
    """The preprocessing that a repository states, of clips before that of images.

    Raises:
        ConfigError: it states none.
    """
    from transformers.utils import cached_file

    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        file = cached_file(
            model, name, revision=revision, _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
        if file is not None:
            content = documents.parse_json(Path(file).read_text(encoding="utf-8"), str(file), error=ConfigError)
            if isinstance(content, dict):
                return content
    raise ConfigError(
        f"teacher 'hf': {model} states no preprocessing (preprocessor_config.json)",
        hint="give mean and std, in units of 0..255; ImageNet: mean=[123.675,116.28,103.53] std=[58.395,57.12,57.375]",
    )


def load_text_tower(model: str, revision: str) -> tuple[Any, nn.Module]:
    """Tokenizer and text encoder of a CLIP model, which embeds texts in the space of its images.

    Raises:
        ConfigError: a model of another type, or without weights of a text encoder.
    """
    transformers: Any = package("transformers", user="teacher 'hf'", extra="hf")
    try:
        config = transformers.AutoConfig.from_pretrained(model, revision=revision)
        if config.model_type != "clip":
            raise ConfigError(
                f"teacher 'hf': {model} is a {config.model_type!r}: it has no joint image-text embedding space",
                hint="text prompts need a complete CLIP model, such as the one in configs/teacher/clip.yaml",
            )
        kind: Any = transformers.CLIPTextModelWithProjection
        with without_progress(transformers):
            network, report = kind.from_pretrained(
                model, revision=revision, use_safetensors=True, output_loading_info=True
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
    except ConfigError:
        raise
    except Exception as error:  # as above
        raise ConfigError(
            f"teacher 'hf': the text encoder of {model!r} could not be loaded: {type(error).__name__}: "
            f"{str(error).splitlines()[0]}",
            hint="check the connection, and that the folder contains a tokenizer and the text weights",
        ) from error
    # transformers initialises missing weights at random and only warns.
    if report["missing_keys"]:
        raise ConfigError(f"teacher 'hf': {model} lacks text weights, among them {sorted(report['missing_keys'])[0]}")
    return tokenizer, network.to(torch.float32).eval()


def _projects(config: Any) -> bool:
    return config.model_type == "clip_vision_model"
