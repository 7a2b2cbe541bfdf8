"""PatchTST models of Hugging Face's `transformers`, as ``save_pretrained`` writes them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from imu_video.arguments import Finite, Positive
from imu_video.bundle.input_spec import InputSpec
from imu_video.config import validate
from imu_video.converters.base import Converter, Plan, norm_names, with_prefix
from imu_video.converters.checkpoint import CONFIG, Checkpoint, listed
from imu_video.errors import CheckpointError, ConfigError
from imu_video.registry import converters
from imu_video.runtime.content import shown
from imu_video.types import GRAVITY, IMU_CHANNELS, JsonDict

# Keys of config.json that the encoder needs; `transformers` writes all of them.
NEEDED = {
    "context_length": int,
    "patch_length": int,
    "patch_stride": int,
    "num_input_channels": int,
    "num_attention_heads": int,
    "norm_type": str,
    "norm_eps": float,
    "pre_norm": bool,
    "activation_function": str,
    "positional_encoding_type": str,
    "use_cls_token": bool,
    "share_embedding": bool,
    "channel_attention": bool,
}
# Keys that only some files have, with the only value that the encoder reproduces.
FIXED = {"minimum_scale": {"std": 1e-5, "mean": 1e-10}, "scaling_dim": 1, "keepdim": True, "default_scale": None}
UNITS = {"acc": {"m/s^2": 1.0, "g": GRAVITY}, "gyr": {"rad/s": 1.0, "deg/s": math.pi / 180}}


@converters.register("patch_tst_hf")
class PatchTSTConverter(Converter):
    """A folder that ``save_pretrained`` of a PatchTST model of `transformers` wrote: config.json, model.safetensors.

    `PatchTSTModel`, and the models that contain it (``PatchTSTForPretraining``, ``...ForClassification`` and others),
    whose heads are dropped. The folder states neither rate nor channels nor units: give those of the training data.

    Args:
        rate_hz: sampling rate of the training windows, above 0.
        channels: names of the channels in order, 1 or more values; default: the accelerometer for three, both sensors
            for six.
        acc_unit, gyr_unit: units in which the network was trained.
        gravity: whether accelerations included gravity in training.
        units: unit of each channel that is not one of the six, such as ``emg_1``; windows are given in it. Default: 1,
            an unknown unit.
        mean: subtracted from windows before the network in training; per channel in those units, each finite.
        std: windows were divided by it in training; per channel in those units, each above 0.
        pooling: ``cls``, ``mean`` or ``max`` over the patches of a channel; default: the class token if there is one,
            otherwise the ``pooling_type`` of config.json (``mean`` if it is null).

    Example:
        ``imu-video convert patch_tst_hf my-model encoders/theirs rate_hz=50``
    """

    origin = "Nie et al. 2023, arXiv 2211.14730; https://huggingface.co/docs/transformers/model_doc/patchtst"
    licence = "not known: that of the model's author (`--licence` states it)"
    redistribution = "not known: ask the model's author"

    def __init__(
        self,
        *,
        rate_hz: Positive,
        channels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None,
        acc_unit: Literal["m/s^2", "g"] = "m/s^2",
        gyr_unit: Literal["rad/s", "deg/s"] = "rad/s",
        gravity: Literal["included", "removed", "unknown"] = "included",
        units: dict[str, str] | None = None,
        mean: tuple[Finite, ...] | None = None,
        std: tuple[Positive, ...] | None = None,
        pooling: Literal["cls", "mean", "max"] | None = None,
    ) -> None:
        self.rate_hz, self.channels, self.gravity, self.pooling = rate_hz, channels, gravity, pooling
        self.scale = {"acc": UNITS["acc"][acc_unit], "gyr": UNITS["gyr"][gyr_unit]}
        self.units = dict(units or {})
        self.mean, self.std = mean, std

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        where = checkpoint.file.with_name(CONFIG)
        config = _config(checkpoint)
        outer = with_prefix(checkpoint, "model.encoder.", "encoder.").removesuffix("encoder.")
        body = f"{outer}encoder."
        layers = 1 + max(
            (int(found[1]) for name in checkpoint.under(body) if (found := re.match(r"layers\.(\d+)\.", name))),
            default=-1,
        )
        first = f"{body}layers.0.ff.0.weight"
        width, ffn = checkpoint.shape(first, 2)[::-1]
        for key, size in (("num_hidden_layers", layers), ("d_model", width), ("ffn_dim", ffn)):
            if config.get(key, size) != size:
                raise CheckpointError(
                    f"{where}: key {key!r} is {shown(config[key])}, {checkpoint.file.name} has {size}"
                )
        batch, shared = config["norm_type"] == "batchnorm", config["share_embedding"]
        bias = f"{body}layers.0.ff.0.bias" in checkpoint.tensors
        count = config["num_input_channels"]
        names: dict[str, tuple[str, ...]] = {"positions": (f"{body}positional_encoder.position_enc",)}
        if config["use_cls_token"]:
            names["class_token"] = (f"{body}positional_encoder.cls_token",)
        embedding = f"{body}embedder.input_embedding"
        embeddings = 1 if shared else len([n for n in checkpoint.under(f"{embedding}.") if n.endswith(".weight")])
        if not shared and embeddings != count:
            raise CheckpointError(
                f"{checkpoint.file}: {embeddings} embeddings of patches, {where} states {count} channels that do not "
                "share one"
            )
        for i in range(embeddings):
            inner = embedding if shared else f"{embedding}.{i}"
            names |= {f"embed.{i}.{part}": (f"{inner}.{part}",) for part in ("weight", "bias")}
        zero = {}
        for i in range(layers):
            ours, theirs = f"layers.{i}", f"{body}layers.{i}"
            for part in ("weight", "bias"):
                names[f"{ours}.qkv.{part}"] = tuple(f"{theirs}.self_attn.{one}_proj.{part}" for one in "qkv")
                names[f"{ours}.out.{part}"] = (f"{theirs}.self_attn.out_proj.{part}",)
                for place, layer in ((0, "up"), (3, "down")):
                    if part == "weight" or bias:
                        names[f"{ours}.{layer}.{part}"] = (f"{theirs}.ff.{place}.{part}",)
                    else:
                        zero[f"{ours}.{layer}.bias"] = "the network has no biases there"
            inner = ".batchnorm" if batch else ""
            names |= norm_names(f"{ours}.attention_norm", f"{theirs}.norm_sublayer1{inner}", batch=batch)
            names |= norm_names(f"{ours}.ffn_norm", f"{theirs}.norm_sublayer3{inner}", batch=batch)
        token = config["use_cls_token"]
        pooling = self.pooling or ("cls" if token else config.get("pooling_type") or "mean")
        encoder = {
            "name": "patch_tst_hf",
            "patch": config["patch_length"],
            "stride": config["patch_stride"],
            "width": width,
            "layers": layers,
            "heads": config["num_attention_heads"],
            "ffn": ffn,
            "norm": {"batchnorm": "batch", "layernorm": "layer"}.get(config["norm_type"], config["norm_type"]),
            "norm_eps": config["norm_eps"],
            "pre_norm": config["pre_norm"],
            "activation": config["activation_function"],
            "scaling": _scaling(config, where),
            "positions": {"random": "learned"}.get(config["positional_encoding_type"], "sincos"),
            "class_token": token,
            "share_embedding": shared,
            "pooling": pooling,
        }
        return Plan(
            encoder=encoder,
            spec=self._spec(config["context_length"], count),
            tensors=names,
            zero=zero,
            dropped={name: "head of a training task" for name in checkpoint.tensors if not name.startswith(body)}
            if outer
            else {},
            facts={"model": shown(config.get("architectures"))},
        )

    def _spec(self, samples: int, count: int) -> InputSpec:
        channels = self.channels or {3: IMU_CHANNELS[:3], 6: IMU_CHANNELS}.get(count)
        if channels is None or len(channels) != count:
            raise ConfigError(
                f"converter 'patch_tst_hf': the network takes {count} channels, channels names "
                f"{'none' if channels is None else len(channels)}",
                hint="name them in order: 'channels=[acc_x, acc_y, acc_z, emg_1]'",
            )
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != count:
                raise ConfigError(f"converter 'patch_tst_hf': {key} has {len(values)} numbers, expected {count}")
        others = [c for c in channels if c not in IMU_CHANNELS]
        if unknown := sorted(set(self.units) - set(others)):
            raise ConfigError(
                f"converter 'patch_tst_hf': units names {listed(unknown)}, expected some of {listed(others) or 'none'}",
                hint="acc_unit and gyr_unit state the units of acc_x .. gyr_z",
            )
        scale = [self.scale[c.split("_")[0]] if c in IMU_CHANNELS else 1.0 for c in channels]
        return validate(
            {
                "channels": list(channels),
                "units": {c: self.units.get(c, "1") for c in others},
                "rate_hz": self.rate_hz,
                "window_s": samples / self.rate_hz,
                "gravity": self.gravity,
                "mean": [m * s for m, s in zip(self.mean or [0.0] * count, scale, strict=True)],
                "std": [d * s for d, s in zip(self.std or [1.0] * count, scale, strict=True)],
            },
            InputSpec,
            source="converter 'patch_tst_hf'",
        )


def _config(checkpoint: Checkpoint) -> JsonDict:
    """The config of the model, with the keys that the encoder needs."""
    where = checkpoint.file.with_name(CONFIG)
    config = checkpoint.config
    if config is None:
        raise CheckpointError(
            f"{checkpoint.file}: expected the folder that save_pretrained writes, with {CONFIG}",
            hint=f"name the folder: {checkpoint.file.parent}",
        )
    if config.get("model_type") != "patchtst":
        raise CheckpointError(f"{where}: model_type is {shown(config.get('model_type'))}, expected 'patchtst'")
    missing = [key for key in NEEDED if key not in config]
    if missing:
        raise CheckpointError(f"{where}: keys missing: {listed(missing)}", hint="save the model again")
    for key, kind in NEEDED.items():
        value = config[key]
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise CheckpointError(f"{where}: key {key!r}: expected {kind.__name__} (got {shown(value)})")
    choices = {
        "norm_type": ("batchnorm", "layernorm"),
        "activation_function": ("gelu", "relu"),
        "positional_encoding_type": ("sincos", "random"),
        "channel_attention": (False,),
    }
    for key, values in choices.items():
        if config[key] not in values:
            words = " or ".join(map(repr, values))
            raise CheckpointError(f"{where}: key {key!r} is {shown(config[key])}, only {words} can be converted")
    return config


def _scaling(config: JsonDict, where: Any) -> str:
    """Scaling of each series; other keys that change it are refused."""
    given = config.get("scaling")
    scaling = "mean" if given is True else given or "none"
    if scaling not in ("std", "mean", "none"):
        scaling = "none"  # as the original, which scales by nothing else
    for key, value in FIXED.items():
        expected = value.get(scaling) if isinstance(value, dict) else value
        if scaling != "none" and key in config and config[key] != expected:
            raise CheckpointError(f"{where}: key {key!r} is {shown(config[key])}, only {expected!r} can be converted")
    return scaling
