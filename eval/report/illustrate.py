"""What a report shows of the data itself: a map of encoder features and sample pairs; figures are drawn in plots.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.data.features import encoder_features
from eval.data.windows import LabelledWindows, load_windows
from eval.report import plots
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.shards.reading.index import load_index
from imu_video.shards.schema import Index


def feature_map(bundle: EncoderBundle, windows: LabelledWindows, *, most: int = 800, seed: int = 0) -> bytes:
    """t-SNE of encoder features, coloured by activity, person and placement (PNG).

    Features are standardised and reduced to 30 principal components first. Distances between far groups mean little.

    Args:
        bundle: the encoder.
        windows: labelled windows; a seeded sample of them is drawn where there are more than ``most``.
        most: windows on the map.
        seed: of the sample and of t-SNE.
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
    groups = {"activity": np.array(some.classes)[some.labels], "person": some.subject}
    if len(np.unique(some.facts["placement"])) > 1:
        groups["placement"] = some.facts["placement"]
    return plots.scatter(np.asarray(points), groups)


def sample_pairs(index: Index, split: str, *, number: int = 5, frames: int = 4) -> list[Mapping[str, Any]]:
    """Samples of different activities with frames (or skeletons) and the acceleration of one device, for `plots.pairs`.

    Reads shards from the front until enough activities are seen; samples with neither clip nor skeleton are passed
    over.
    """
    from imu_video.shards.reading.pipeline import read_samples
    from imu_video.shards.video import decode_mp4

    out: dict[str, Mapping[str, Any]] = {}
    for sample in read_samples(index, split, {"imu", "video", "skeleton", "meta"}):
        label = str(sample.meta["label"])
        if label in out or not sample.imu or (sample.video is None and sample.skeleton is None):
            continue
        placement, imu = sorted(sample.imu.items())[0]
        entry: dict[str, Any] = {
            "title": f"{label}, {sample.meta['subject']}",
            "acc": imu[:3],
            "rate_hz": index.rate_hz,
            "placement": placement,
        }
        if sample.video is not None:
            clip = decode_mp4(sample.video)
            entry["frames"] = clip[np.linspace(0, len(clip) - 1, min(frames, len(clip))).round().astype(int)]
        elif sample.skeleton is not None:
            track = sample.skeleton
            entry["joints"] = track[np.linspace(0, len(track) - 1, min(frames, len(track))).round().astype(int)]
        out[label] = entry
        if len(out) == number:
            break
    return list(out.values())


def draw(encoder: Path | None, data: Path, *, split: str | None = None) -> dict[str, bytes]:
    """The figures ``map`` (where an encoder is given) and ``pairs`` (where the data has clips or skeletons).

    Args:
        encoder: encoder folder, or None.
        data: data folder.
        split: which split to show; default ``test`` where it exists, else the last.
    """
    index = load_index(data)
    chosen = split or ("test" if "test" in index.splits else list(index.splits)[-1])
    out: dict[str, bytes] = {}
    if encoder is not None:
        out["map"] = feature_map(load_encoder(encoder), load_windows(index, splits=[chosen]))
    samples = sample_pairs(index, chosen)
    if samples:
        out["pairs"] = plots.pairs(samples)
    return out
