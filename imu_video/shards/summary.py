"""What a data folder holds, as rows for tables; drawing them is the command's job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from imu_video.shards.columns import open_columns
from imu_video.shards.schema import TEACHER_FOLDER, Index
from imu_video.shards.teacher_cache import read_caches

UNLABELLED = "(unlabelled)"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of plain values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def facts(index: Index) -> Table:
    """One row a fact: source, terms, rates, units, axes."""
    clip, skeleton, build = index.clip, index.skeleton, index.build
    units = {unit: [c for c, u in index.units.items() if u == unit] for unit in dict.fromkeys(index.units.values())}
    rows: list[tuple[object, ...]] = [
        ("dataset", index.dataset),
        ("licence", index.licence),
        ("citation", index.citation),
        ("window", f"{index.window_s:g} s, {index.samples_per_window} samples at {index.rate_hz:g} Hz"),
        ("units", "; ".join(f"{', '.join(channels)} in {unit}" for unit, channels in units.items())),
        ("placements", ", ".join(index.placements)),
        ("clip", f"{clip.frames} frames at {clip.fps:g} Hz, {clip.height} x {clip.width}" if clip else "none"),
        *(
            (f"view {view}", f"{spec.frames} frames at {spec.fps:g} Hz, {spec.height} x {spec.width}")
            for view, spec in index.views.items()
        ),
        (
            "skeleton",
            f"{skeleton.frames} frames at {skeleton.fps:g} Hz, {len(skeleton.joints)} joints" if skeleton else "none",
        ),
        *((f"tag {tag}", ", ".join(values)) for tag, values in index.tags.items()),
        ("recordings", f"{build.recordings}, {build.empty_recordings} of them shorter than a window"),
        ("windows", f"{build.windows}, {sum(build.dropped.values())} of them dropped{_counts(build.dropped)}"),
        ("kept without", ", ".join(f"{what}: {n}" for what, n in build.without.items()) or "nothing"),
        ("made by", f"imu-video {build.version}, config {build.config_digest}"),
        ("digest", index.digest),
    ]
    if build.unused_subjects:
        rows.append(("in no split", ", ".join(build.unused_subjects)))
    return Table(title="facts", columns=("fact", "value"), rows=tuple(rows))


def splits(index: Index) -> Table:
    """One row a split: samples, people, shards, megabytes."""
    return Table(
        title="splits",
        columns=("split", "samples", "people", "shards", "MB", "subjects"),
        rows=tuple(
            (
                name,
                split.samples,
                len(split.subjects),
                len(split.shards),
                round(sum(s.bytes for s in split.shards) / 1e6, 1),
                ", ".join(split.subjects),
            )
            for name, split in index.splits.items()
        ),
    )


def labels(index: Index) -> Table:
    """One row a split and label: samples, and how many of them each placement measured."""
    rows: list[tuple[object, ...]] = []
    for name in index.splits:
        columns = open_columns(index, name)
        of_label = Counter(label or UNLABELLED for label in columns.labels)
        for label in (*index.labels, UNLABELLED):
            if of_label[label]:
                mine = [(one or UNLABELLED) == label for one in columns.labels]
                rows.append((name, label, of_label[label], *columns.present[mine].sum(axis=0).tolist()))
    return Table(title="labels", columns=("split", "label", "samples", *index.placements), rows=tuple(rows))


def teachers(index: Index) -> Table:
    """One row a teacher cache: fingerprint, teacher, and whether it belongs to these shards.

    Raises:
        TeacherCacheError: a teacher.json that cannot be read.
    """
    rows = []
    for fingerprint, cache in read_caches(index).items():
        embedded = sorted(path.stem for path in (index.root / TEACHER_FOLDER / fingerprint).glob("*.npy"))
        shards = "these" if cache.get("index") == index.digest else "others: embed again"
        rows.append((fingerprint, cache.get("spec", {}).get("name", ""), ", ".join(embedded), shards))
    return Table(title="teachers", columns=("fingerprint", "teacher", "splits", "of shards"), rows=tuple(rows))


def _counts(reasons: dict[str, int]) -> str:
    return f" ({', '.join(f'{reason}: {n}' for reason, n in reasons.items())})" if reasons else ""
