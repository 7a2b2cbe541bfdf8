"""Map of encoder features and sample pairs for a report; the figures are drawn in figures/windows.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.data.features import encoder_features
from eval.data.source import open_labelled
from eval.data.windows import LabelledWindows
from eval.report.figures import windows as figures
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.shards.schema import Index


def feature_map(bundle: EncoderBundle, windows: LabelledWindows, *, most: int = 800, seed: int = 0) -> bytes:
    """t-SNE of encoder features, coloured by class, subject and placement (PNG).

    Features are first standardised and reduced to 30 principal components. Distances between distant clusters are not
    meaningful.

    Args:
        bundle: the encoder.
        windows: labelled windows; a seeded sample is drawn if there are more than ``most``.
        most: number of windows on the map.
        seed: seed of the sample and of t-SNE.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(windows))[:most])
    some = windows.take(rows)
    z = encoder_features(bundle, some)
    z = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-6)
    z = PCA(n_components=min(30, *z.shape), random_state=seed).fit_transform(z)
    points = TSNE(
        init="pca", perplexity=max(2.0, min(30.0, (len(z) - 1) / 3)), random_state=seed, n_jobs=1
    ).fit_transform(z)
    groups = {"class": np.array(some.classes)[some.labels], "subject": some.subject}
    if len(np.unique(some.facts["placement"])) > 1:
        groups["placement"] = some.facts["placement"]
    return figures.scatter(np.asarray(points), groups)


def sample_pairs(index: Index, split: str, *, number: int = 5, frames: int = 4) -> list[Mapping[str, Any]]:
    """Samples of different classes with frames (or poses) and the acceleration of one device, for `figures.pairs`.

    Shards are read from the beginning until enough classes are found; samples without a stream that can be drawn are
    skipped.
    """
    from imu_video.modalities import modality_of
    from imu_video.shards.reading.pipeline import read_samples

    out: dict[str, Mapping[str, Any]] = {}
    kinds = {stream: modality_of(stream).drawing for stream in index.streams if "." not in stream}
    drawn = sorted((stream for stream in kinds if kinds[stream] != "none"), key=lambda stream: kinds[stream])
    for sample in read_samples(index, split, {"imu", "meta", *drawn}):
        label = str(sample.meta["label"])
        stream = next((one for one in drawn if one in sample.streams), None)
        if label in out or not sample.imu or stream is None:
            continue
        placement, imu = sorted(sample.imu.items())[0]
        entry: dict[str, Any] = {
            "title": f"{label}, {sample.meta['subject']}",
            "acc": imu[:3],
            "rate_hz": index.rate_hz,
            "placement": placement,
        }
        length = index.streams[stream].frames
        some = np.linspace(0, length - 1, min(frames, length)).round().astype(int).tolist()
        entry["frames" if kinds[stream] == "frames" else "joints"] = modality_of(stream).select(
            sample.streams[stream], some
        )
        out[label] = entry
        if len(out) == number:
            break
    return list(out.values())


def draw(encoder: Path | None, data: Path, *, split: str | None = None) -> dict[str, bytes]:
    """The figures ``map`` (with an encoder) and ``pairs`` (for data with clips or skeletons).

    Args:
        encoder: encoder folder, or None.
        data: data folder or array folder.
        split: split to show; default ``test`` if present, else the last.
    """
    opened = open_labelled(data)
    chosen = split or ("test" if "test" in opened.splits else opened.splits[-1])
    out: dict[str, bytes] = {}
    if encoder is not None:
        out["map"] = feature_map(load_encoder(encoder), opened.windows(splits=[chosen]))
    samples = [] if opened.shards is None else sample_pairs(opened.shards, chosen)
    if samples:
        out["pairs"] = figures.pairs(samples)
    return out
