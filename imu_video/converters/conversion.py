"""The conversion itself, the same for all converters: place tensors, write the folder, verify it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.converters.base import Converter, Plan
from imu_video.converters.checkpoint import Checkpoint, listed, read_checkpoint
from imu_video.errors import CheckpointError, ConfigError, ParityError
from imu_video.runtime.files import temporary_folder
from imu_video.types import GRAVITY, JsonDict

TOLERANCE = 1e-6
"""Largest allowed absolute difference between a feature before and after reloading the folder."""
WINDOWS = 4
"""Windows on which the features are compared."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Result of a conversion.

    Args:
        folder: the encoder folder.
        encoder: registered name of the encoder.
        parameters: number of values in its weights.
        feature_dim: E.
        dropped: names of the checkpoint that no feature depends on -> reason.
        licence, redistribution: terms of the weights as far as known.
        difference: largest absolute difference of a feature after reloading.
    """

    folder: Path
    encoder: str
    parameters: int
    feature_dim: int
    dropped: Mapping[str, str]
    licence: str
    redistribution: str
    difference: float


def convert(
    converter: Mapping[str, Any] | str,
    checkpoint: str | Path,
    out: str | Path,
    *,
    licence: str | None = None,
    force: bool = False,
) -> Converted:
    """Write the weights of a published network as an encoder folder.

    Every tensor of the checkpoint is used or named as dropped with the reason; the folder is reloaded and compared
    with the network in memory before ``out`` is written.

    Args:
        converter: name or config entry of a registered converter: ``harnet``, ``{"name": "patch_tst_hf", "rate_hz":
            50}``.
        checkpoint: file or folder; see `read_checkpoint`.
        out: encoder folder to write.
        licence: terms of the weights for the card; default: those that the converter knows.
        force: replace an existing encoder folder.

    Raises:
        CheckpointError: the checkpoint cannot be read or is not one of this network, or ``out`` is another folder.
        ConfigError: unknown converter or argument.
        ParityError: the reloaded folder gives other features; ``out`` is not written.

    Example:
        ``convert("harnet", "mtl_best.mdl", "encoders/harnet10")``
    """
    entry = registry.converters.entry(converter)
    chosen: Converter = entry.build()
    source = read_checkpoint(checkpoint)
    plan = chosen.plan(source)
    bundle = build(plan, source)
    terms = licence or chosen.licence
    lineage: JsonDict = {
        "converted": {
            "converter": entry.config,
            "origin": chosen.origin,
            "file": source.file.name,
            "sha256": source.sha256,
            "dropped": _by_reason(plan.dropped),
            "set to zero": _by_reason(plan.zero),
            **plan.facts,
        },
        "licences": {
            "weights": terms,
            "redistribution": chosen.redistribution if licence is None else "see the licence of the weights",
        },
    }
    target = Path(out)
    with temporary_folder(target) as temporary:
        draft = temporary / target.name
        bundle.save(draft, lineage=lineage)
        difference = _difference(bundle, load_encoder(draft), source)
    if not difference <= TOLERANCE:  # written so that NaN fails, too
        raise ParityError(
            f"the reloaded encoder differs by up to {difference:.3g} on {WINDOWS} windows (allowed {TOLERANCE:g}); "
            f"nothing was written to {target}",
            hint="an encoder with state outside its state dict cannot be stored; register buffers",
        )
    bundle.save(target, lineage=lineage, force=force)
    return Converted(
        folder=target,
        encoder=bundle.encoder_config["name"],
        parameters=sum(p.numel() for p in bundle.encoder.parameters()),
        feature_dim=bundle.feature_dim,
        dropped=plan.dropped,
        licence=terms,
        redistribution=lineage["licences"]["redistribution"],
        difference=difference,
    )


def build(plan: Plan, checkpoint: Checkpoint) -> EncoderBundle:
    """The encoder of a plan with the weights of its checkpoint, in evaluation mode.

    Raises:
        CheckpointError: tensors that are missing, unexpected, of a wrong shape or not finite; all are named.
    """
    try:
        bundle = EncoderBundle(spec=plan.spec, encoder=plan.encoder)
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.file}: {error.message}", hint=error.hint) from error
    ours = bundle.encoder.state_dict()
    unplaced = set(ours) - set(plan.tensors) - set(plan.zero)
    unknown = (set(plan.tensors) | set(plan.zero)) - set(ours)
    if unplaced or unknown:
        raise CheckpointError(
            f"{checkpoint.file}: this converter and encoder {plan.encoder['name']!r} do not fit: "
            f"{listed(sorted(unplaced | unknown))}",
            hint="correct `plan` of the converter",
        )
    _refuse_other_names(plan, checkpoint)
    wrong, weights = [], {}
    for name, value in ours.items():
        if name in plan.zero:
            weights[name] = torch.zeros_like(value)
            continue
        parts = plan.tensors[name]
        expected = _part_shape(value, len(parts))
        for part in parts:
            found = tuple(checkpoint.tensors[part].shape)
            if found != expected:
                wrong.append(f"{part} is {found}, expected {expected}")
            elif checkpoint.tensors[part].is_floating_point() != value.is_floating_point():
                wrong.append(f"{part} is {checkpoint.tensors[part].dtype}, expected {value.dtype}")
            elif not bool(checkpoint.tensors[part].isfinite().all()):
                wrong.append(f"{part} has values that are not finite")
        if not wrong:
            weights[name] = _joined([checkpoint.tensors[part] for part in parts]).to(value.dtype)
    if wrong:
        raise CheckpointError(f"{checkpoint.file}: {len(wrong)} tensors do not fit: {'; '.join(wrong[:6])}")
    bundle.encoder.load_state_dict(weights)
    return bundle.eval()


def _refuse_other_names(plan: Plan, checkpoint: Checkpoint) -> None:
    used = {name for names in plan.tensors.values() for name in names}
    missing = sorted(used - set(checkpoint.tensors))
    unexpected = sorted(set(checkpoint.tensors) - used - set(plan.dropped))
    if missing or unexpected:
        problems = [f"{len(missing)} tensors are missing: {listed(missing)}"] if missing else []
        problems += [f"{len(unexpected)} tensors are unexpected: {listed(unexpected)}"] if unexpected else []
        raise CheckpointError(
            f"{checkpoint.file}: {'; '.join(problems)}",
            hint="`imu-video list converters` describes the networks that can be converted",
        )


def _part_shape(value: Tensor, parts: int) -> tuple[int, ...]:
    return tuple(value.shape) if parts == 1 else (value.shape[0] // parts, *value.shape[1:])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _difference(before: EncoderBundle, after: EncoderBundle, checkpoint: Checkpoint) -> float:
    """Largest difference of a feature on windows of noise around gravity."""
    spec = before.spec
    windows = np.random.default_rng(0).normal(size=(WINDOWS, len(spec.channels), spec.samples)).astype(np.float32)
    if "acc_z" in spec.channels:
        windows[:, spec.channels.index("acc_z")] += GRAVITY
    one, two = (b.encode(windows, rate_hz=spec.rate_hz, check_units=False) for b in (before, after))
    if not np.isfinite(one).all():
        raise CheckpointError(f"{checkpoint.file}: the features of the network are not finite numbers")
    return float(np.abs(one - two).max())


def _by_reason(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Names by their reason; of many, the first few, because the card shows them."""
    found: dict[str, list[str]] = {}
    for name, reason in names.items():
        found.setdefault(reason, []).append(name)
    return {
        reason: [*some[:8], *([f"and {len(some) - 8} more"] if len(some) > 8 else [])] for reason, some in found.items()
    }
