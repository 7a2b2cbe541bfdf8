"""An encoder folder with random weights for the channels of labelled data; nothing is trained here.

Few-shot and limited-label evaluation take an encoder folder. For data of other channels than those of pretrained
encoders, this one gives the references without pretraining: an untrained network and hand-crafted statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.data.features import spec_of
from eval.data.source import open_labelled
from eval.finetune.network import measured
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import Normalise

FITTED_WINDOWS = 4096
"""About how many windows an encoder is fitted to without labels and gradients (`EncoderBundle.fit`)."""


def write_untrained(
    data: str | Path,
    out: str | Path,
    *,
    encoder: Mapping[str, Any] | str,
    splits: Sequence[str] | None = None,
    normalise: Normalise = "sensors",
    seed: int = 0,
    force: bool = False,
) -> EncoderBundle:
    """Build an encoder with random weights for the channels, units, rate and window of labelled data, and save it.

    Args:
        data: a data folder or an array folder, see `eval.data.source.open_labelled`.
        out: output folder.
        encoder: name or entry of a registered encoder.
        splits: splits whose windows fit the normalisation; None: ``train`` if there is one, else all.
        normalise: form of the normalisation, see `fit_input_spec`.
        seed: seed of the weights; the global random state is not changed.
        force: replace an existing encoder folder.

    Returns:
        The encoder.

    Raises:
        DataError: data that cannot be read.
        ConfigError: an unknown encoder, argument or split.
        CheckpointError: the output folder has other content, or exists and ``force`` is not set.
    """
    opened = open_labelled(data)
    chosen = list(splits or (["train"] if "train" in opened.splits else opened.splits))
    windows = opened.windows(splits=chosen)
    spec = spec_of(windows, normalise=normalise)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bundle = EncoderBundle(spec=spec, encoder=encoder).eval()
    step = max(1, len(windows.x) // FITTED_WINDOWS)
    bundle.fit(*measured(windows.x[::step]))
    # No key `dataset`: no subject trained the weights, so none is refused as a query.
    origin = {"dataset": opened.dataset, "digest": opened.digest, "splits": chosen, "form": normalise}
    bundle.save(out, lineage={"untrained": {"seed": seed, "normalisation": origin}}, force=force)
    return bundle
