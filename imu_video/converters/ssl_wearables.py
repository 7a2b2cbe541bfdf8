"""Checkpoints of ssl-wearables: harnet5, harnet10 and harnet30."""

from __future__ import annotations

import torch

from imu_video.bundle.input_spec import InputSpec
from imu_video.converters.base import MISSING, Converter, Plan, norm_names, with_prefix
from imu_video.converters.checkpoint import Checkpoint
from imu_video.encoders.harnet import RATE_HZ, STAGES, smoothing_kernel
from imu_video.errors import CheckpointError
from imu_video.registry import converters
from imu_video.types import GRAVITY, IMU_CHANNELS

HEADS = ("aot_h.", "scale_h.", "permute_h.", "time_w_h.", "classifier.")


@converters.register("harnet")
class HarnetConverter(Converter):
    """harnet5, harnet10 and harnet30 of ssl-wearables: ``mtl_best.mdl`` and the other files of that project.

    The network takes a wrist accelerometer in g at 30 Hz. Names start with ``module.`` in the published files. The
    length of the windows is read off the widths and the stored smoothing filters.

    Example:
        ``imu-video convert harnet mtl_best.mdl encoders/harnet10``
    """

    origin = "Yuan et al. 2024, arXiv 2206.02909; https://github.com/OxWearables/ssl-wearables"
    licence = (
        "Academic Use Licence of the University of Oxford (LICENSE.md of the repository): internal academic research, "
        "not commercial. Copyright (c) 2022, University of Oxford"
    )
    redistribution = (
        "only for academic research, with the copyright notice and under the same licence; not as part of a product"
    )

    def plan(self, checkpoint: Checkpoint) -> Plan:
        """See `Converter.plan`."""
        outer = with_prefix(checkpoint, "module.", "")
        body = f"{outer}feature_extractor."
        first = checkpoint.shape(f"{body}layer1.0.weight", 3)
        width, channels = first[:2]
        if channels != 3:
            raise CheckpointError(
                f"{checkpoint.file}: the network takes {channels} channels, expected 3 (an accelerometer)"
            )
        seconds = self._seconds(checkpoint, body, width)
        names: dict[str, tuple[str, ...]] = {}
        dropped: dict[str, str] = {}
        for number, stage in enumerate(STAGES[seconds]):
            ours, theirs = f"stages.{number}", f"{body}layer{number + 1}"
            names[f"{ours}.0.weight"] = (f"{theirs}.0.weight",)
            for block in range(1, stage.blocks + 1):
                for place, norm, convolution in ((0, "bn1", "conv1"), (3, "bn2", "conv2")):
                    layer = f"{ours}.{block}.layers"
                    names |= norm_names(f"{layer}.{place}", f"{theirs}.{block}.{norm}", batch=True)
                    names[f"{layer}.{place + 2}.weight"] = (f"{theirs}.{block}.{convolution}.weight",)
            names |= norm_names(f"{ours}.{stage.blocks + 1}", f"{theirs}.{stage.blocks + 1}", batch=True)
            dropped[f"{theirs}.{stage.blocks + 3}.kernel"] = "smoothing filter, equal to that of the encoder"
        dropped |= {
            name: "head of a training task"
            for name in checkpoint.under(outer).values()
            if name.removeprefix(outer).startswith(HEADS)
        }
        return Plan(
            encoder={"name": "harnet", "seconds": seconds, "width": width, "norm": "batch"},
            spec=InputSpec(
                channels=IMU_CHANNELS[:3],
                rate_hz=RATE_HZ,
                window_s=float(seconds),
                mean=(0.0,) * 3,
                std=(GRAVITY,) * 3,
            ),
            tensors=names,
            zero={"missing": MISSING},
            dropped=dropped,
            facts={"units of the network": "g"},
        )

    def _seconds(self, checkpoint: Checkpoint, body: str, width: int) -> int:
        """Length of the windows: the stages whose widths and filters are those of the checkpoint."""
        differences = {}
        for seconds, stages in STAGES.items():
            wrong = []
            for number, stage in enumerate(stages, start=1):
                name = f"{body}layer{number}.{stage.blocks + 3}.kernel"
                kernel = smoothing_kernel(factor=stage.factor, order=stage.order)
                expected = kernel.expand(width * stage.width, 1, -1)
                found = checkpoint.tensors.get(name)
                if found is None:
                    wrong.append(f"no tensor {name}")
                elif found.shape != expected.shape:
                    wrong.append(f"{name} is {tuple(found.shape)}, expected {tuple(expected.shape)}")
                elif not torch.allclose(found.float(), expected, atol=1e-6):
                    wrong.append(f"{name} has other values, the first are {found[0, 0, :3].tolist()}")
            if not wrong:
                return seconds
            differences[seconds] = wrong
        seconds, wrong = min(differences.items(), key=lambda item: len(item[1]))
        raise CheckpointError(
            f"{checkpoint.file}: not harnet5, harnet10 or harnet30; the nearest is harnet{seconds}: {wrong[0]}"
        )
