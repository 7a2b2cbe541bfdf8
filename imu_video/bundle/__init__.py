"""Exported encoders: input specification, weights, model card and the Hugging Face hub; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle, load_encoder, push_to_hub, read_config
    from imu_video.bundle.input_spec import InputSpec, fit_input_spec
    from imu_video.bundle.pretrained import PretrainedEncoder, list_pretrained

__all__ = [
    "EncoderBundle",
    "InputSpec",
    "PretrainedEncoder",
    "fit_input_spec",
    "list_pretrained",
    "load_encoder",
    "push_to_hub",
    "read_config",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "encoder": ["EncoderBundle", "load_encoder", "push_to_hub", "read_config"],
        "input_spec": ["InputSpec", "fit_input_spec"],
        "pretrained": ["PretrainedEncoder", "list_pretrained"],
    },
)
