"""Checkpoints of the recurrent network of IMU2CLIP (MW2StackRNNPooling), and of PRIMUS, which builds on it."""

from __future__ import annotations

from typing import Literal

from imu_video.arguments import Positive
from imu_video.bundle.input_spec import InputSpec
from imu_video.converters.base import MISSING, Converter, Plan, with_prefix
from imu_video.converters.checkpoint import Checkpoint
from imu_video.errors import CheckpointError
from imu_video.registry import converters
from imu_video.types import IMU_CHANNELS, JsonDict

MEMBER = "imu_encoder."
"""Name of the IMU encoder inside the module that the trainer of both projects saves."""


@converters.register("imu2clip")
class IMU2CLIPConverter(Converter):
    """The IMU encoder of IMU2CLIP: ``*_src_encoder.pt``, or the checkpoint of its trainer (``*.ckpt``).

    Six channels, accelerometer first. The first layer normalises each sensor of a window, so the units hardly matter;
    the project trained in m/s^2 and rad/s. The rate is not stored in the weights.

    Args:
        rate_hz: sampling rate of the training windows, above 0; 200 in the project.
        window_s: length of the training windows in seconds, above 0; 5 (2.5 s on each side of a narration).

    Example:
        ``imu-video convert imu2clip i2c_src_encoder.pt encoders/imu2clip``
    """

    origin = "Moon et al. 2022, arXiv 2210.14395; https://github.com/facebookresearch/imu2clip"
    licence = (
        "the project released code (CC BY-NC-SA 4.0) and no weights: the terms are those of whoever trained them, and "
        "those of Ego4D"
    )
    redistribution = "ask whoever trained them"

    def __init__(self, *, rate_hz: Positive = 200.0, window_s: Positive = 5.0) -> None:
        self.rate_hz, self.window_s = rate_hz, window_s

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        body = with_prefix(checkpoint, f"{MEMBER}net.", "net.")
        return Plan(
            encoder={"name": "cnn_gru", "pool": 3, "pooling": "last", **_sizes(checkpoint, body)},
            spec=_spec(self.rate_hz, self.window_s),
            tensors=_names(body),
            zero={"missing": MISSING},
            dropped=_outside(checkpoint, body),
        )


@converters.register("primus")
class PRIMUSConverter(Converter):
    """The IMU encoder of PRIMUS: its released ``best_model.ckpt``, or ``*_src_encoder.pt``.

    Six channels, accelerometer first. The weights of a network with one head (trained without ``--multihead``) have
    the names of IMU2CLIP; choose ``features=emb`` for them.

    Args:
        features: ``mmcl``: of the head trained against video and text, which the project evaluates; ``ssl``: of the
            head trained on augmented windows; ``emb``: the state of the GRU, without a head.
        rate_hz: sampling rate of the training windows, above 0; 50 in the project.
        window_s: length of the training windows in seconds, above 0; 5 (2.5 s on each side of a narration).

    Example:
        ``imu-video convert primus best_model.ckpt encoders/primus``
    """

    origin = "Das et al. 2024, arXiv 2411.15127; https://github.com/Nokia-Bell-Labs/pretrained-imu-encoders"
    licence = (
        "not known: the repository has no licence file that we found, and its network is that of IMU2CLIP (CC BY-NC-SA "
        "4.0), trained on Ego-Exo4D, which has a licence of its own"
    )
    redistribution = "not granted as far as known: ask the authors"

    def __init__(
        self,
        *,
        features: Literal["mmcl", "ssl", "emb"] = "mmcl",
        rate_hz: Positive = 50.0,
        window_s: Positive = 5.0,
    ) -> None:
        self.features, self.rate_hz, self.window_s = features, rate_hz, window_s

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        body = with_prefix(checkpoint, f"{MEMBER}backbone.", "backbone.", f"{MEMBER}net.", "net.")
        outer = body.removesuffix("backbone.").removesuffix("net.")
        names, dropped = _names(body), _outside(checkpoint, body)
        if self.features != "emb":
            if body.endswith("net."):
                raise CheckpointError(
                    f"{checkpoint.file}: the network has no head {self.features}_head; {checkpoint.summary()}",
                    hint="features=emb",
                )
            head = f"{outer}{self.features}_head"
            names |= {f"head.{part}": (f"{head}.{part}",) for part in ("weight", "bias")}
            dropped = {name: reason for name, reason in dropped.items() if not name.startswith(f"{head}.")}
        return Plan(
            encoder={
                "name": "primus",
                "pool": 3,
                "steps": 32,
                "pooling": "last",
                "head": self.features != "emb",
                **_sizes(checkpoint, body),
            },
            spec=_spec(self.rate_hz, self.window_s),
            tensors=names,
            zero={"missing": MISSING},
            dropped=dropped,
        )


def _spec(rate_hz: float, window_s: float) -> InputSpec:
    return InputSpec(rate_hz=rate_hz, window_s=window_s, mean=(0.0,) * 6, std=(1.0,) * 6)


def _sizes(checkpoint: Checkpoint, body: str) -> JsonDict:
    """Widths of the convolutions and of the GRU."""
    width, channels, _ = checkpoint.shape(f"{body}1.net.0.weight", 3)
    if channels != len(IMU_CHANNELS):
        raise CheckpointError(
            f"{checkpoint.file}: the network takes {channels} channels, expected {len(IMU_CHANNELS)}: "
            f"{', '.join(IMU_CHANNELS)}"
        )
    return {"width": width, "hidden": checkpoint.shape(f"{body}5.weight_hh_l0", 2)[1]}


def _names(body: str) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for ours, theirs in ((0, 0), (7, 4)):
        names |= {f"layers.{ours}.{part}": (f"{body}{theirs}.{part}",) for part in ("weight", "bias")}
    for ours, theirs in ((1, 1), (3, 2), (5, 3)):
        names[f"layers.{ours}.weight"] = (f"{body}{theirs}.net.0.weight",)
    parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return names | {f"gru.{part}": (f"{body}5.{part}",) for part in parts}


def _outside(checkpoint: Checkpoint, body: str) -> dict[str, str]:
    """Tensors that are no part of the network: its heads, and in the file of a trainer the other networks."""
    found = {}
    for name in checkpoint.tensors:
        if name.startswith((f"{MEMBER}ssl_head.", f"{MEMBER}mmcl_head.", "ssl_head.", "mmcl_head.")):
            found[name] = "head of a training task"
        elif body.startswith(MEMBER) and not name.startswith(MEMBER):
            found[name] = "part of the training, not of the IMU encoder"
    return found
