"""Guards that stop a run during training; checks before training are in prepare/checks.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from imu_video.errors import GuardStop
from imu_video.runtime.distributed import gather
from imu_video.shards.batches.loader import PairLoader
from imu_video.types import PairBatch
from pretrain.config import PretrainConfig
from pretrain.training.parts import Parts
from pretrain.training.task import PretrainTask

_NAMED = 8  # windows that a message names


def check_rows(batch: PairBatch, config: PretrainConfig, device: torch.device, *, repeats: bool = False) -> None:
    """Over all ranks, each window of a global batch must occur once; a loader that is split twice violates this.

    Args:
        batch: this rank's rows.
        config: resolved.
        device: device on which rows are gathered.
        repeats: windows may repeat: a folder of a mixture can be used more than once per epoch.

    Raises:
        GuardStop: windows are missing or repeated.
    """
    rows = gather(batch.meta.sample.to(device))
    different, expected = len(rows.unique()), config.data.batch_size
    if len(rows) != expected or (different != expected and not repeats):
        raise GuardStop(
            f"the global batch has {len(rows)} rows with {different} different windows, expected {expected}",
            hint="pass the rank (World) to the loader, and never pass the loader to accelerator.prepare",
        )


class Buffers:
    """Copies of the buffers that a forward pass may change (running statistics of batch norm), to undo a step.

    Losses are left out: their forward changes nothing, and their queues are large.

    Args:
        task: model and losses, before the forward pass.
    """

    def __init__(self, task: PretrainTask) -> None:
        owners = [module for part in (task.model, task.objective) if part is not None for module in part.modules()]
        self._copies = [
            (module, name, buffer.clone())
            for module in owners
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copies back."""
        for module, name, copy in self._copies:
            now = module._buffers[name]
            if now is not None and now.shape == copy.shape:
                now.copy_(copy)
            else:  # the module replaced its buffer instead of writing to it
                module._buffers[name] = copy


def check_state(task: PretrainTask, step: int, *, last: str | None) -> None:
    """Parameters and running statistics of batch norm must be finite in every checkpoint; equal on all ranks.

    Args:
        task: model and losses.
        step: steps done.
        last: the newest checkpoint, for the message.

    Raises:
        GuardStop: a value is not finite.
    """
    tensors: dict[str, Tensor] = dict(task.named_parameters())
    for prefix, module in task.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            tensors |= {f"{prefix}.{name}": buffer for name, buffer in module.named_buffers(recurse=False)}
    # One transfer from the device for all tensors.
    finite = torch.stack([tensor.detach().isfinite().all() for tensor in tensors.values()]).tolist()
    bad = [name for name, whole in zip(tensors, finite, strict=True) if not whole]
    if bad:
        what = f"step {step}: {len(bad)} of {len(tensors)} tensors of the state ({_listed(bad)})"
        raise not_finite(what, f"they are not written; the last checkpoint is {last or 'none'}")


NOT_WRITTEN = "no checkpoint of this step is written"
"""What is kept where a validation fails: a run that resumed behind it would never repeat it."""


def not_finite(what: str, kept: str, windows: str = "") -> GuardStop:
    """The error for a loss, gradient or weight that is not finite.

    Args:
        what: step and values.
        kept: which state is on the disk.
        windows: result of `suspects`.
    """
    return GuardStop(
        f"{what}: not finite; {kept}" + (f"\n  {windows}" if windows else ""),
        hint="check the last lines of log.jsonl; lower optim.lr, set optim.clip_norm, or check the data "
        "with `imu-video verify`",
    )


def step_not_finite(
    parts: Parts, step: int, numbers: Mapping[str, float], checkpoints: Path, device: torch.device
) -> GuardStop:
    """The error for an update whose loss or gradient is not finite; the state before it has been written.

    Args:
        parts: with the state before the update; every rank must call this.
        step: steps done before it.
        numbers: its ``loss`` and ``grad_norm``.
        checkpoints: folder of the checkpoints.
        device: of the task.
    """
    first = step * parts.config.optim.accumulate
    them = range(first, first + parts.config.optim.accumulate)
    batches = (parts.augmenter.training(parts.feed.get(number).to(device), number) for number in them)
    return not_finite(
        f"step {step + 1}: loss {numbers['loss']}, gradient norm {numbers['grad_norm']}",
        f"the weights before this step are kept ({checkpoints}/latest)",
        suspects(parts.task, parts.feed.loader, batches),
    )


@torch.no_grad()
def suspects(task: PretrainTask, loader: PairLoader, batches: Iterable[PairBatch]) -> str:
    """Names of the windows behind a value that is not finite; every rank must call it.

    A window is named if its input, its target or its feature is not finite; if none is, the batch is.

    Args:
        task: model; evaluated window by window, because batch norm spreads one bad window over the batch.
        loader: of the batches.
        batches: this rank's rows, augmented, on the device of the task.
    """
    was_training = task.training
    task.eval()
    rows, bad = [], []
    for batch in batches:
        parts = [batch.imu, batch.imu_two, batch.devices, batch.teacher, *batch.others.values()]
        parts.append(task.model.student(batch.imu, batch.mask))
        flags = [~part.isfinite().flatten(1).all(1) for part in parts if part is not None and part.is_floating_point()]
        rows.append(gather(batch.meta.sample))
        bad.append(gather(torch.stack(flags).any(0)))
    task.train(was_training)
    samples, flagged = torch.cat(rows), torch.cat(bad)
    named = samples[flagged] if flagged.any() else samples
    keys = _listed(loader.pool.keys(named.tolist()))
    if flagged.any() and not flagged.all():
        return f"windows with values that are not finite ({len(named)} of {len(samples)}): {keys}"
    return (
        f"windows of the batch ({len(samples)}), each of them finite by itself: {keys}"
        if not flagged.any()
        else (f"the features of all {len(samples)} windows of the batch are not finite: {keys}")
    )


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
