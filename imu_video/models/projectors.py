"""Projectors saved with an exported encoder, for comparisons with video embeddings; features do not need them.

The file `projectors.safetensors` in an encoder folder contains the IMU and video projectors and the teacher statistics;
its header contains their sizes, the fingerprint of the teacher and the hash of the encoder weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from imu_video.bundle.encoder import load_encoder, read_config
from imu_video.bundle.locate import encoder_folder
from imu_video.config import Config
from imu_video.encoders.allocation import bounded
from imu_video.errors import CheckpointError, ConfigError
from imu_video.models.cross_modal import (
    TEACHER,
    BatchHead,
    CrossModalModel,
    Head,
    ProjectionHead,
    Projector,
    RandomHead,
    ReluHead,
)
from imu_video.runtime import documents
from imu_video.runtime.files import write_atomic

PROJECTORS = "projectors.safetensors"
_NAMES = {
    "imu_projector.": "imu_projector.",
    f"sides.{TEACHER}.projector.": "video_projector.",
    f"sides.{TEACHER}.mean": "teacher_mean",
    f"sides.{TEACHER}.std": "teacher_std",
}
"""Prefix of a parameter's name in the model -> prefix in the file."""


Width = Annotated[int, Field(ge=1, le=2**16)]


class ProjectorFacts(Config):
    """Content of the header of `projectors.safetensors`.

    Args:
        teacher_dim: Dt, width of the teacher's features.
        dim: D, embedding width.
        video_projector: kind of the video projector.
        head: kind of the heads.
        hidden: width of their hidden layers, several if they differ; None for heads without any or for the default.
        teacher: fingerprint of the teacher whose features the video projector takes.
        encoder_sha256: hash of the encoder weights that the projectors were trained with.
    """

    teacher_dim: int = Field(ge=1, le=2**20)
    dim: int = Field(ge=1, le=2**16)
    video_projector: Projector
    head: Head = "residual"
    hidden: Width | Annotated[tuple[Width, ...], Field(min_length=1)] | None = None
    teacher: str
    encoder_sha256: str


def save_projectors(model: CrossModalModel, folder: str | Path, *, teacher: str) -> Path:
    """Write a model's projectors atomically into the encoder folder of its student.

    Args:
        model: the pretrained model.
        folder: folder written by ``model.student.save``.
        teacher: fingerprint of the teacher.

    Raises:
        CheckpointError: the folder contains no encoder.
        ConfigError: the model has no video projector for features of a frozen teacher.
    """
    if TEACHER not in model.sides or model.teacher.projector is None:
        raise ConfigError("this model has no frozen teacher, so there are no projectors to save")
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    facts = ProjectorFacts(
        teacher_dim=model.teacher.width,
        dim=model.dim,
        video_projector=_kind(model.teacher.projector),
        head=model.head,
        hidden=model.hidden,
        teacher=teacher,
        encoder_sha256=str(read_config(folder)["weights_sha256"]),
    )
    names = {k: _renamed(k, _NAMES) for k in model.state_dict() if k.startswith(tuple(_NAMES))}
    state = {names[k]: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items() if k in names}
    data = to_bytes(state, metadata={"format": "pt", "imu-video": facts.model_dump_json(exclude_none=True)})
    write_atomic(folder / PROJECTORS, data)
    return folder / PROJECTORS


def load_pair_model(folder: str | Path) -> tuple[CrossModalModel, ProjectorFacts]:
    """Read an exported encoder together with its projectors, in evaluation mode.

    Returns:
        The model, with ``embed_imu(imu, mask)`` and ``embed_teacher(features)``, and the content of the header.

    Raises:
        CheckpointError: the folder has no projectors, or they are damaged or belong to other encoder weights.

    Example:
        ``model, facts = load_pair_model("encoder")``
    """
    folder = encoder_folder(folder)
    bundle = load_encoder(folder)
    path = folder / PROJECTORS
    facts, state = _read(path)
    expected = str(read_config(folder)["weights_sha256"])
    if facts.encoder_sha256 != expected:
        raise CheckpointError(
            f"{path}: trained with encoder weights {facts.encoder_sha256[:12]}, the folder has {expected[:12]}",
            hint="export the run again",
        )
    try:
        with bounded("the encoder with its projectors"):
            model = CrossModalModel(
                student=bundle,
                teacher_dim=facts.teacher_dim,
                dim=facts.dim,
                projector=facts.video_projector,
                head=facts.head,
                hidden=facts.hidden,
            )
    except ConfigError as error:
        raise CheckpointError(f"{path}, header: {error.message}", hint="export the run again") from error
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} has values that are not finite", hint="export the run again")
    try:
        back = {file: name for name, file in _NAMES.items()}
        known = {_renamed(k, back): v for k, v in state.items()}
        # Not strict, because the encoder's weights come from their own file; missing projector weights are found below.
        missing, unexpected = model.load_state_dict(known, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own header: {error}", hint="export the run again") from error
    lacking = [name for name in missing if name.startswith(tuple(_NAMES))]
    if lacking or unexpected:
        raise CheckpointError(f"{path}: missing {lacking}, not expected {unexpected}", hint="export the run again")
    return model.eval(), facts


def _renamed(name: str, names: Mapping[str, str]) -> str:
    old = next((start for start in names if name.startswith(start)), "")
    return names.get(old, "") + name.removeprefix(old)


def _read(path: Path) -> tuple[ProjectorFacts, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; comparing IMU with video needs the projectors",
            hint="`imu-pretrain export RUN OUT` writes them into the encoder folder",
        )
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="export the run again") from error
    where, again = f"{path}, header", "export the run again"
    content = documents.parse_json(header.get("imu-video", "null"), where, error=CheckpointError, hint=again)
    return documents.validate(ProjectorFacts, content, where, error=CheckpointError, hint=again), tensors


def _kind(projector: nn.Module) -> Projector:
    if isinstance(projector, ProjectionHead | BatchHead | ReluHead):
        return "mlp"
    if isinstance(projector, RandomHead):
        return "random"
    return "linear" if isinstance(projector, nn.Linear) else "none"
