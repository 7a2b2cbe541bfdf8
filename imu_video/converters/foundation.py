"""Checkpoints of foundation models of time series: MOMENT and Mantis."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from imu_video.arguments import Positive
from imu_video.bundle.input_spec import InputSpec
from imu_video.converters.base import Converter, Plan, with_prefix
from imu_video.converters.checkpoint import Checkpoint
from imu_video.encoders.moment import PATCH
from imu_video.errors import CheckpointError
from imu_video.registry import converters
from imu_video.types import IMU_CHANNELS

HEAD_WIDTH = 64
"""Width of an attention head of the T5 models that MOMENT builds on."""


class SeriesConverter(Converter):
    """Base of converters of networks that scale each series by themselves: units do not matter, rate and names do.

    Args:
        rate_hz: sampling rate of windows, above 0; the network has none of its own.
        window_s: length of windows in seconds, above 0.
        channels: names of the channels in order, 1 or more values.
    """

    def __init__(
        self,
        *,
        rate_hz: Positive = 50.0,
        window_s: Positive = 10.24,
        channels: Annotated[tuple[str, ...], Field(min_length=1)] = IMU_CHANNELS,
    ) -> None:
        self.rate_hz, self.window_s, self.channels = rate_hz, window_s, channels

    def spec(self) -> InputSpec:
        """The input of the encoder, without a normalisation of its own."""
        count = len(self.channels)
        other: dict[str, Any] = {name: "1" for name in self.channels if name not in IMU_CHANNELS}
        return InputSpec(
            channels=tuple(self.channels),
            **({"units": other} if other else {}),
            rate_hz=self.rate_hz,
            window_s=self.window_s,
            mean=(0.0,) * count,
            std=(1.0,) * count,
        )


@converters.register("moment")
class MOMENTConverter(SeriesConverter):
    """``model.safetensors`` of MOMENT-1-small, -base or -large (also with their heads, which are dropped).

    Args:
        rate_hz: sampling rate of windows, above 0; at 50 Hz, 512 samples are 10.24 s.
        window_s: length of windows in seconds, above 0; up to 512 samples fill the published positions.
        channels: names of the channels in order, 1 or more values.

    Example:
        ``imu-video convert moment model.safetensors encoders/moment rate_hz=50``
    """

    origin = "Goswami et al. 2024, arXiv 2402.03885; https://huggingface.co/AutonLab"
    licence = "MIT, as stated on the pages of the published models"
    redistribution = "allowed with the copyright notice"

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        outer = with_prefix(checkpoint, "model.encoder.block.", "encoder.block.").removesuffix("encoder.block.")
        blocks = f"{outer}encoder.block."
        layers = 1 + max(
            (int(found[1]) for name in checkpoint.under(blocks) if (found := re.match(r"(\d+)\.", name))), default=-1
        )
        distance = f"{blocks}0.layer.0.SelfAttention.relative_attention_bias.weight"
        heads = checkpoint.shape(distance, 2)[1]
        embedding = f"{outer}patch_embedding.value_embedding.weight"
        width, patch = checkpoint.shape(embedding, 2)
        if patch != PATCH:
            raise CheckpointError(f"{checkpoint.file}: patches of {patch} samples, expected {PATCH}")
        ffn = checkpoint.shape(f"{blocks}0.layer.1.DenseReluDense.wi_0.weight", 2)[0]
        head_width = checkpoint.shape(f"{blocks}0.layer.0.SelfAttention.q.weight", 2)[0] // heads
        names: dict[str, tuple[str, ...]] = {
            "embed.weight": (embedding,),
            "masked": (f"{outer}patch_embedding.mask_embedding",),
            "encoder.distance.weight": (distance,),
            "encoder.norm.weight": (f"{outer}encoder.final_layer_norm.weight",),
        }
        for i in range(layers):
            ours, attention, feed = f"encoder.layers.{i}", f"{blocks}{i}.layer.0", f"{blocks}{i}.layer.1"
            names |= {
                f"{ours}.attention_norm.weight": (f"{attention}.layer_norm.weight",),
                f"{ours}.qkv.weight": tuple(f"{attention}.SelfAttention.{part}.weight" for part in "qkv"),
                f"{ours}.out.weight": (f"{attention}.SelfAttention.o.weight",),
                f"{ours}.ffn_norm.weight": (f"{feed}.layer_norm.weight",),
                f"{ours}.gate_up.weight": tuple(f"{feed}.DenseReluDense.{part}.weight" for part in ("wi_0", "wi_1")),
                f"{ours}.down.weight": (f"{feed}.DenseReluDense.wo.weight",),
            }
        reasons = {
            f"{outer}encoder.embed_tokens.": "embeddings of words, which no series has",
            f"{outer}shared.": "embeddings of words, which no series has",
            f"{outer}patch_embedding.position_embedding.": "positions, computed by the encoder",
            f"{outer}head.": "head of a training task",
            f"{outer}normalizer.": "the standardisation of series has no trained part in the published models",
        }
        dropped = {name: reason for prefix, reason in reasons.items() for name in checkpoint.under(prefix).values()}
        return Plan(
            encoder={
                "name": "moment",
                "width": width,
                "layers": layers,
                "heads": heads,
                "head_width": head_width,
                "ffn": ffn,
            },
            spec=self.spec(),
            tensors=names,
            dropped=dropped,
        )


@converters.register("mantis")
class MantisConverter(SeriesConverter):
    """``model.safetensors`` of Mantis-8M and of models fine-tuned from it; needs the extra ``foundation``.

    Args:
        rate_hz: sampling rate of windows, above 0.
        window_s: length of windows in seconds, above 0; every window is resampled to 512 samples.
        channels: names of the channels in order, 1 or more values.

    Example:
        ``imu-video convert mantis model.safetensors encoders/mantis rate_hz=50 window_s=5.12``
    """

    origin = "Feofanov et al. 2025, arXiv 2502.15637; https://huggingface.co/paris-noah/Mantis-8M"
    licence = "MIT, as stated on the page of the published model; the package mantis-tsfm is Apache-2.0"
    redistribution = "allowed with the copyright notice"

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        from imu_video.encoders.mantis import OLD_NAMES

        names, dropped = {}, {}
        for name in checkpoint.tensors:
            if name.startswith("prj."):
                dropped[name] = "head of the contrastive training"
                continue
            ours = name
            for old, new in OLD_NAMES.items():
                ours = ours.replace(old, new, 1) if ours.startswith(old) else ours
            names[f"network.{ours}"] = (name,)
        return Plan(
            encoder={"name": "mantis"},
            spec=self.spec(),
            tensors=names,
            zero={"missing": "feature of a channel without any sample; the published network has none"},
            dropped=dropped,
        )
