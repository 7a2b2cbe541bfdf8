"""CLIP and SigLIP models of open_clip: images and texts in one space; other hub models: huggingface.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imu_video.arguments import Count
from imu_video.errors import ConfigError, nearest
from imu_video.registry import teachers
from imu_video.teachers.base import FrozenTeacher
from imu_video.teachers.pictures import middle_frames
from imu_video.teachers.preprocessing import Preprocessing, in_levels, known
from imu_video.teachers.timm_frames import seed_of


@teachers.register("open_clip")
class OpenClipTeacher(FrozenTeacher):
    """An image-text model of open_clip on frames, with its own preprocessing; the mean over frames of its embeddings.

    Images and texts (`encode_text`) share one space, as zero-shot evaluation by prompts needs (Radford et al. 2021;
    Cherti et al. 2023). Needs ``pip install imu-video[clip]``; weights are downloaded once and never unpickled.

    Args:
        model: ``ARCHITECTURE/WEIGHTS`` as open_clip lists them, for example ``ViT-B-32/laion2b_s34b_b79k``; or
            ``ARCHITECTURE/random:SEED``.
        frames: number of frames, the centres of parts of equal length; fewer if the clip has fewer.
        projection: see `FrozenTeacher`.

    Raises:
        ConfigError: open_clip is not installed, unknown architecture or weights, or weights that cannot be loaded.

    Example:
        ``imu-video embed data/mine open_clip:ViT-B-32/laion2b_s34b_b79k``
    """

    def __init__(self, *, model: str, frames: Count = 8, projection: str | Mapping[str, Any] = "identity") -> None:
        network, tokenizer = load_open_clip(model)
        settings = network.visual.preprocess_cfg
        size = settings["size"] if isinstance(settings["size"], tuple | list) else (settings["size"],) * 2
        known(settings["resize_mode"], ("shortest", "squash"), f"{model}: resize mode")
        known(settings["interpolation"], ("bilinear", "bicubic"), f"{model}: interpolation")
        known(size[0] == size[1], (True,), f"{model}: square input")
        with torch.no_grad():
            # The attribute that holds the width differs between the architectures.
            width = int(network.encode_image(torch.zeros(1, 3, *size)).shape[1])
        super().__init__(width=width, projection=projection)
        self.model, self.frames = model, frames
        self.prepare = Preprocessing(
            size=(int(size[0]), int(size[1])),
            resize=int(size[0]) if settings["resize_mode"] == "shortest" else (int(size[0]), int(size[1])),
            interpolation=settings["interpolation"],
            mean=in_levels(settings["mean"]),
            std=in_levels(settings["std"]),
        )
        self.network, self.tokenizer = network, tokenizer
        self.freeze()

    def sample_indices(self, frames: int) -> list[int]:
        """Centres of ``self.frames`` equal parts of a clip of ``frames`` frames."""
        return middle_frames(frames, count=min(self.frames, frames))

    def features(self, inputs: Tensor) -> Tensor:
        batch, frames = inputs.shape[:2]
        each: Tensor = self.network.encode_image(self.prepare(inputs))
        return each.unflatten(0, (batch, frames)).mean(1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(texts)).to(next(self.network.parameters()).device)
        embedded: Tensor = self.network.encode_text(tokens)
        return embedded

    def recipe(self) -> dict[str, Any]:
        return {
            "name": "open_clip",
            "model": self.model,
            "transform": self.prepare.describe(),
            "sampler": {"frames": self.frames, "rule": "middles of equal stretches"},
            "pooling": "mean over frames",
            "licence": "see the card of these weights on the hub",
        }


def load_open_clip(model: str) -> tuple[Any, Any]:
    """Network and tokenizer of ``ARCHITECTURE/WEIGHTS``.

    Raises:
        ConfigError: as for `OpenClipTeacher`.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ConfigError(
            "teacher 'open_clip' needs the package open-clip-torch", hint="pip install 'imu-video[clip]'"
        ) from error
    architecture, _, weights = model.partition("/")
    names = open_clip.list_models()
    if architecture not in names:
        raise ConfigError(
            f"open_clip has no architecture {architecture!r}{nearest(architecture, names)}",
            hint="model: ViT-B-32/laion2b_s34b_b79k",
        )
    seed = seed_of(weights)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if seed is None and weights not in tags:
        raise ConfigError(
            f"open_clip has no weights {weights!r} of {architecture}{nearest(weights, tags)}",
            hint=f"model: {architecture}/WEIGHTS, with one of {', '.join(tags[:6]) or 'no published weights'}",
        )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            network: nn.Module = open_clip.create_model(
                architecture,
                pretrained=weights if seed is None else None,
                require_pretrained=seed is None,
                weights_only=True,
            )
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # many types are possible; a failure must not end in random weights
        raise ConfigError(
            f"weights of {model!r} could not be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="check the connection; teacher `frames` needs no download",
        ) from error
    return network.to(torch.float32).eval(), tokenizer
