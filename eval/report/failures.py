"""The windows about which a probe on the encoder is most certainly wrong, with trace and clip; measures no figure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.data.features import encoder_features
from eval.data.splits import Domain, EpisodeConfig, draw_episodes, refuse_training_subjects
from eval.data.windows import LabelledWindows, load_windows
from eval.probes import LogregProbe
from eval.report import plots_detail
from eval.report.document import Block, Card, Cards, Clip, Figure, Section, Text
from eval.report.words import svg
from imu_video.browse.collect import Place, collect
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.errors import ConfigError, LeakageError
from imu_video.shards.reading.index import load_index
from imu_video.shards.schema import Index
from imu_video.types import JsonDict

SHOTS = (5, 1)
"""Shots of the one episode: the first that the data allows."""
PER_CLASS = 20
"""Windows of a person and class that take part: more cost time and show nothing else."""
CLIP_BYTES = 12_000_000


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A window that was taken for something else.

    Args:
        row: of the windows.
        truth, predicted: names of classes.
        confidence: probability of the predicted class.
        of_truth: probability of the true class.
    """

    row: int
    truth: str
    predicted: str
    confidence: float
    of_truth: float


def worst_windows(
    bundle: EncoderBundle, windows: LabelledWindows, domain: Domain, *, most: int = 8, seed: int = 0
) -> tuple[list[Failure], str]:
    """The windows of one seeded episode whose true class a logistic probe thinks least likely, and how it was asked.

    At most one window a sample, two a pair of true and predicted class, and one of those a person, so that one bad
    recording does not fill the list.

    Args:
        bundle: the encoder.
        windows: labelled windows with the domain's splits.
        domain: where support and queries come from; its people must not be of the encoder's pretraining.
        most: windows at most, at least 1.
        seed: of the episode.

    Raises:
        LeakageError: a query person was in the pretraining.
        ConfigError: too few people or windows for an episode of one shot.
    """
    refuse_training_subjects(bundle.lineage, windows, domain.rows(windows))
    for shots in SHOTS:
        try:
            config = EpisodeConfig(shots=[shots], episodes=1, seed=seed, windows_per_class=PER_CLASS)
            episodes = draw_episodes(windows, domain, config)
            break
        except ConfigError:
            if shots == SHOTS[-1]:
                raise
    [episode] = episodes.episodes
    support, labels = episode.support_rows(shots)
    features = [encoder_features(bundle, windows.take(rows)) for rows in (support, episode.query)]
    scores = LogregProbe().fit(features[0], labels, classes=len(episodes.names)).scores(features[1]).astype(np.float64)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = np.searchsorted(episodes.classes, windows.labels[episode.query])
    predicted = p.argmax(axis=1)
    of_truth = p[np.arange(len(p)), truth]
    wrong = predicted != truth
    out: list[Failure] = []
    pairs: dict[tuple[int, int], set[str]] = {}
    samples: set[tuple[str, int]] = set()
    for i in np.argsort(of_truth, kind="stable"):
        row = int(episode.query[i])
        sample = (str(windows.facts["split"][row]), int(windows.sample[row]))
        people = pairs.setdefault((int(truth[i]), int(predicted[i])), set())
        person = str(windows.subject[row])
        if not wrong[i] or sample in samples or person in people or len(people) == 2:
            continue
        people.add(person)
        samples.add(sample)
        names = episodes.names[truth[i]], episodes.names[predicted[i]]
        out.append(
            Failure(
                row=row,
                truth=names[0],
                predicted=names[1],
                confidence=float(p[i, predicted[i]]),
                of_truth=float(of_truth[i]),
            )
        )
        if len(out) == most:
            break
    how = (
        f"One episode (seed {seed}, {shots} shot{'s' if shots > 1 else ''}, `logreg` on the encoder's features) asks "
        f"{len(episode.query)} windows of {len(episode.query_subjects)} people, at most {PER_CLASS} a "
        f"person and activity; {int(wrong.sum())} are answered wrong. "
        "Shown are those whose true class it thinks least likely: at most two a pair of classes, of different people. "
        "They are the worst, not the typical ones."
    )
    return out, how


def failures_section(encoder: Path, data: Path, *, split: str | None = None, most: int = 8, seed: int = 0) -> Section:
    """The section of failure cases; where no episode can be asked it says why.

    Args:
        encoder: encoder folder.
        data: data folder with labels.
        split: whose people are asked; default ``test`` where it exists, else the last.
        most: cases at most.
        seed: of the episode.
    """
    index = load_index(data)
    chosen = split or ("test" if "test" in index.splits else list(index.splits)[-1])
    windows = load_windows(index, splits=[chosen])
    title = "Where it fails"
    try:
        found, how = worst_windows(
            load_encoder(encoder), windows, Domain(name="people", split=chosen), most=most, seed=seed
        )
    except (LeakageError, ConfigError) as error:
        return Section(title, [Text(f"No failure cases: {error}.")])
    if not found:
        return Section(title, [Text(how)])
    blocks: list[Block] = [Text(how), Cards(_cards(index, windows, found))]
    return Section(title, blocks)


def _cards(index: Index, windows: LabelledWindows, found: Sequence[Failure]) -> list[Card]:
    places = [Place(split=str(windows.facts["split"][f.row]), row=int(windows.sample[f.row])) for f in found]
    splits = list(index.splits)
    ordered = sorted(places, key=lambda place: (splits.index(place.split), place.row))
    shown = collect(index, ordered, clip_bytes=CLIP_BYTES)
    entries = dict(zip(ordered, shown["samples"], strict=True))
    return [_card(shown, entries[place], windows, f) for place, f in zip(places, found, strict=True)]


def _card(shown: JsonDict, entry: JsonDict, windows: LabelledWindows, f: Failure) -> Card:
    placement = str(windows.facts["placement"][f.row])
    pictures: list[Figure | Clip] = [
        Clip(data=base64.b64decode(clip["mp4"]), alt=f"clip of {f.truth}, view {clip['view']}")
        for clip in entry["clips"][:1]
    ]
    if not pictures and "skeleton" in entry and shown["skeleton"]:
        drawing = shown["skeleton"]
        track = np.array(entry["skeleton"], dtype=np.float64)
        poses = plots_detail.poses(track, drawing["bones"], right=drawing["right"], up=drawing["up"])
        pictures.append(svg(poses, f"poses of {f.truth}"))
    device = next(d for d in entry["devices"] if d["placement"] == placement)
    trace = plots_detail.traces(device["values"], shown["channels"], shown["units"], window_s=shown["window_s"])
    pictures.append(svg(trace, f"acceleration and angular rate at the {placement}"))
    facts = [
        ("is", f"{f.truth} (p {f.of_truth:.3f})"),
        ("taken for", f"{f.predicted} (p {f.confidence:.3f})"),
        ("person", str(entry["subject"])),
        ("placement", placement),
        ("recording", f"{entry['recording']} at {entry['start']:.1f} s"),
        ("sample", f"{entry['split']}/{entry['key']}"),
    ]
    facts += [("quality", ", ".join(entry["flags"]))] if entry["flags"] else []
    facts += [("clip", "left out: the page has reached its size")] if entry.get("left_out") else []
    return Card(title=f"{f.truth}, taken for {f.predicted}", facts=facts, shown=pictures)
