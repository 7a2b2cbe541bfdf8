"""Validation by retrieval between windows and clips of held-out subjects; it selects and writes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from imu_video.metrics.ranking import retrieval
from imu_video.runtime.distributed import gather
from imu_video.shards.batches.loader import PairLoader
from imu_video.types import PairBatch
from pretrain.training.augment import Augmenter
from pretrain.training.guards import NOT_WRITTEN, not_finite, suspects
from pretrain.training.task import PretrainTask

_OTHER_SPLIT = 2**40  # more recordings than any split has
DIRECTIONS = ("imu_to_video", "video_to_imu")


def validate(
    task: PretrainTask, loader: PairLoader, *, batches: int, device: torch.device, augmenter: Augmenter
) -> dict[str, float]:
    """Loss and retrieval scores in one fixed gallery: the first batches of the loader's first epoch.

    Every rank embeds its rows and gathers all, so the scores do not depend on the number of processes. ``mrr`` is the
    mean of both directions; it selects the best checkpoint.

    Args:
        task: model and losses; its training mode is restored.
        loader: pairs of the validation split.
        batches: number of its batches in the gallery.
        device: device of the task.
        augmenter: provides augmented pairs and draws, the same at each validation.

    Raises:
        GuardStop: the loss or an embedding is not finite.

    Example:
        >>> validate(task, loader, batches=4, device=device, augmenter=augmenter)["mrr"]  # doctest: +SKIP
        0.41
    """
    was_training = task.training
    task.eval()
    imu, video, losses = [], [], []
    with torch.no_grad():
        for number in range(batches):
            # Draws depend on the batch number alone: every validation sees the same gallery.
            batch = _elsewhere(augmenter.validation(loader.batch(number).to(device), number))
            output, pair = task(batch, augmenter.draws(number, "validate"))
            paired = None if pair is None else pair.with_pairs()
            if paired is not None and paired.side is not None:
                imu.append(gather(paired.imu.float()))
                video.append(gather(paired.side.float()))
            losses.append(gather(output.total.detach().float().reshape(1)).mean())
    task.train(was_training)
    scores = {"loss": float(torch.stack(losses).mean())}
    similarity = (torch.cat(imu) @ torch.cat(video).T).cpu().numpy() if video else None
    # A loss alone may be infinite (before its queue is filled, for example) and is then logged as null. Embeddings must
    # not be, and neither must a loss that selects the best checkpoint.
    judged = similarity if similarity is not None else scores["loss"]
    if not np.isfinite(judged).all():
        what = "validation: embeddings" if video else f"validation: loss {scores['loss']}"
        batches_again = (augmenter.validation(loader.batch(number).to(device), number) for number in range(batches))
        raise not_finite(what, NOT_WRITTEN, suspects(task, loader, batches_again))
    if similarity is None:  # no loss of this run uses the teacher: there is nothing to retrieve
        return scores
    scores["gallery"] = float(len(similarity))
    ways = dict(zip(DIRECTIONS, (retrieval(similarity), retrieval(similarity.T)), strict=True))
    scores |= {f"{way}/{name}": value for way, numbers in ways.items() for name, value in numbers.items()}
    return {**scores, "mrr": sum(numbers["MRR"] for numbers in ways.values()) / len(ways)}


def _elsewhere(batch: PairBatch) -> PairBatch:
    """Shift recording numbers: each split counts from 0, and a queue must not take them for training recordings."""
    return replace(batch, meta=replace(batch.meta, recording=batch.meta.recording + _OTHER_SPLIT))
