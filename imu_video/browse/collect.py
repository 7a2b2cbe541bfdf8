"""Selection of the samples of a page and their content as JSON: traces, clips, poses, facts; no HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imu_video.modalities import StreamSpec, modality_of
from imu_video.shards.folders.summary import UNLABELLED, facts
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.pipeline import Sample, SampleReader
from imu_video.shards.schema import Index
from imu_video.types import JsonDict

MOST_POINTS = 400
"""Maximum number of points per trace: longer traces are reduced to every n-th sample, which a screen resolves."""

_MAX_BONE_FRAMES = 64
_NEXT_TO_THE_ROOT = {
    "hand": ("wrist", "elbow"),
    "wrist": ("elbow",),
    "elbow": ("shoulder",),
    "shoulder": ("neck", "shoulder_center", "chest", "spine"),
    "foot": ("ankle", "knee"),
    "ankle": ("knee",),
    "knee": ("hip",),
    "hip": ("pelvis", "hip_center", "spine"),
    "head": ("neck", "shoulder_center", "chest"),
    "neck": ("chest", "spine", "pelvis", "hip_center"),
    "shoulder_center": ("spine", "hip_center", "pelvis"),
    "chest": ("spine", "pelvis", "hip_center"),
    "spine": ("pelvis", "hip_center"),
}
"""Joint without its side -> candidates for its parent joint; the first one that a skeleton has is used."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A sample of the folder: split and row in that split's columns."""

    split: str
    row: int


def choose(index: Index, *, most: int, split: str | None = None, seed: int = 0) -> list[Place]:
    """Representative samples of the folder, round-robin over groups of equal split, label, subject and quality flags.

    Args:
        index: a loaded index.
        most: largest number of samples, >= 1; a page with 100 to 500 samples opens quickly.
        split: only this split; None = all splits.
        seed: seed of the choice within each group.

    Returns:
        Positions in the order of the shards; the same for the same folder and seed.

    Example:
        >>> from imu_video.shards import load_index
        >>> choose(load_index("data/demo"), most=200)[0]
        Place(split='train', row=0)
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[object, ...], list[Place]] = {}
    for name in index.splits if split is None else [split]:
        columns = open_columns(index, name)
        for row in rng.permutation(len(columns)).tolist():
            group = (name, columns.labels[row] or "", columns.subjects[row], columns.flags[row])
            groups.setdefault(group, []).append(Place(split=name, row=row))
    # Flagged groups come first, so that a page with room for few samples still shows the problems.
    names = list(groups)
    order = sorted((names[i] for i in rng.permutation(len(names))), key=lambda group: not group[-1])
    chosen: list[Place] = []
    for turn in range(max(map(len, groups.values()))):
        chosen += [groups[group][turn] for group in order if turn < len(groups[group])]
        if len(chosen) >= most:
            break
    splits = list(index.splits)
    return sorted(chosen[:most], key=lambda place: (splits.index(place.split), place.row))


def collect(index: Index, places: Sequence[Place], *, clip_bytes: int) -> JsonDict:
    """The content of the page as JSON.

    Args:
        index: a loaded index.
        places: from `choose`.
        clip_bytes: largest number of bytes of clips; further samples have no clip and are marked ``left_out``.

    Returns:
        ``title``, ``facts`` (rows of `imu_video.shards.folders.summary.facts`), ``channels``, ``units``, ``window_s``
        and ``samples``.
    """
    samples = []
    room = clip_bytes
    opened: dict[str, Columns] = {}
    readers: dict[str, SampleReader] = {}
    poses: list[np.ndarray] = []
    posed = next((stream for stream in index.streams if modality_of(stream).drawing == "points"), None)
    for place in places:
        if place.split not in opened:
            opened[place.split] = open_columns(index, place.split)
            readers[place.split] = SampleReader(index, place.split)
        sample = readers[place.split][place.row]
        entry = _facts(opened[place.split], place, sample)
        entry["devices"] = [_device(name, sample.imu[name]) for name in sorted(sample.imu)]
        entry["clips"] = []
        for camera, data in _clips(sample):
            if len(data) <= room:
                room -= len(data)
                entry["clips"].append({"camera": camera, "mp4": base64.b64encode(data).decode()})
            else:
                entry["left_out"] = True
        if posed is not None and posed in sample.streams:
            poses.append(sample.streams[posed])
            entry["pose"] = np.round(sample.streams[posed].astype(float), 3).tolist()
        samples.append(entry)
    return {
        "title": index.dataset,
        "facts": [[str(cell) for cell in row] for row in facts(index).rows],
        "total": sum(split.samples for split in index.splits.values()),
        "dropped": dict(index.build.dropped),
        "channels": list(index.channels),
        "units": dict(index.units),
        "window_s": index.window_s,
        "pose": None if posed is None else _drawing(poses, index.streams[posed]),
        "samples": samples,
    }


def _facts(columns: Columns, place: Place, sample: Sample) -> JsonDict:
    row, meta = place.row, sample.meta
    return {
        "key": sample.key,
        "split": place.split,
        "label": columns.labels[row] or UNLABELLED,
        "subject": columns.subjects[row],
        "recording": columns.recordings[row],
        "session": columns.sessions[row],
        "start": columns.start[row],
        "tags": columns.tags[row],
        "flags": list(columns.flags[row]),
        "sync": meta.get("sync"),
    }


def _clips(sample: Sample) -> Iterator[tuple[str, bytes]]:
    """MP4 bytes by camera, the main video first."""
    for stream, data in sorted(sample.streams.items()):
        if modality_of(stream).drawing == "frames":
            yield stream.partition(".")[2] or "video", data


def _device(placement: str, values: np.ndarray) -> JsonDict:
    """The traces of one device, reduced to the resolution of a screen; None for missing samples."""
    step = -(-values.shape[1] // MOST_POINTS)
    thin = np.round(values[:, ::step].astype(float), 3)
    rows: list[list[float | None]] = [[v if np.isfinite(v) else None for v in row] for row in thin.tolist()]
    return {"placement": placement, "step": step, "samples": values.shape[1], "values": rows}


# -------------------------------------------------------------------------------------------------------------- poses


def _drawing(poses: Sequence[np.ndarray], spec: StreamSpec) -> JsonDict | None:
    """Bones and the right and up axes for drawing the folder's poses; None without poses."""
    if not poses:
        return None
    frames = np.concatenate(poses)
    frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    if not len(frames):
        return None
    thin = frames[:: -(-len(frames) // _MAX_BONE_FRAMES)].astype(float)
    right, up = upright_axes(thin)
    return {"bones": bones(thin, spec.context.get("joints", ())), "right": right, "up": up, "fps": spec.fps}


def bones(frames: np.ndarray, names: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Pairs of joints connected by a bone: by common joint names, and from motion for other joints.

    A joint with an unknown name is connected where the distance is short and varies least, since a bone has a constant
    length. Names come first, because the joints of a depth camera are too noisy for motion alone.

    Args:
        frames: (F, J, 3) metres, finite.
        names: of the J joints, such as ``left_knee``; empty for motion alone.

    Returns:
        J - 1 pairs of joint numbers.

    Example:
        >>> still = np.zeros((4, 3, 3))
        >>> still[:, 1, 0], still[:, 2, 0] = 1.0, 2.0
        >>> bones(still)
        [(0, 1), (1, 2)]
    """
    from scipy.sparse.csgraph import minimum_spanning_tree

    lengths = np.linalg.norm(frames[:, :, None] - frames[:, None], axis=-1)
    cost = lengths.std(axis=0) + 0.1 * lengths.mean(axis=0) + 1e-6  # zero would mean "no edge"
    for a, b in _named_bones(names):
        cost[a, b] = cost[b, a] = 1e-7  # less than any other; scipy takes 1e-8 for no edge
    tree = minimum_spanning_tree(np.triu(cost, 1)).tocoo()
    return sorted((int(min(i, j)), int(max(i, j))) for i, j in zip(tree.row, tree.col, strict=True))


def _named_bones(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of joints that are connected according to common joint names."""
    for number, name in enumerate(names):
        side, _, joint = name.rpartition("_")
        if side not in ("left", "right"):
            side, joint = "", name
        same_side = [
            f"{side}_{near}" if f"{side}_{near}" in names else near for near in _NEXT_TO_THE_ROOT.get(joint, ())
        ]
        nearest = next((near for near in same_side if near in names), None)
        if nearest is not None:
            yield number, names.index(nearest)


def upright_axes(frames: np.ndarray) -> tuple[int, int]:
    """Axes that point right and up in a drawing: up is the longest axis of the body, right the wider of the other two.

    Args:
        frames: (F, J, 3) metres, finite.
    """
    extent = np.median(np.ptp(frames, axis=1), axis=0)
    up = int(np.argmax(extent))
    right = int(max((axis for axis in range(3) if axis != up), key=lambda axis: extent[axis]))
    return right, up
