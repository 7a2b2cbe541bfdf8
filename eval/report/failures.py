"""Failure cases: the windows that a probe on the encoder misclassifies with most confidence, with trace and clip."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.data.features import encoder_features
from eval.data.source import open_labelled
from eval.data.splits import Domain, EpisodeConfig, draw_episodes, refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.probes import LogregProbe
from eval.report.document import Block, Card, Cards, Clip, Figure, Section, Text
from eval.report.figures import windows as figures
from eval.report.words import plural, svg
from imu_video.browse.collect import Place, collect
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.errors import ConfigError, LeakageError
from imu_video.shards.schema import Index
from imu_video.types import JsonDict

SHOTS = (5, 1)
"""Shots of the episode: the first number for which the data has enough windows."""
PER_CLASS = 20
"""Windows per subject and class: more cost time and add no new cases."""
CLIP_BYTES = 12_000_000


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A misclassified window.

    Args:
        row: row number of the window.
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
    """The windows of one seeded episode whose true class is least likely by a logistic probe, and a description.

    At most one window per sample, two per pair of true and predicted class, and one per subject in a pair, so that a
    single bad recording does not fill the list.

    Args:
        bundle: the encoder.
        windows: labelled windows with the domain's splits.
        domain: source of support and queries; its subjects must not be pretraining subjects.
        most: maximum number of windows, at least 1.
        seed: seed of the episode.

    Raises:
        LeakageError: a query subject was in the pretraining.
        ConfigError: too few subjects or windows for an episode of one shot.
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
        subjects = pairs.setdefault((int(truth[i]), int(predicted[i])), set())
        subject = str(windows.subject[row])
        if not wrong[i] or sample in samples or subject in subjects or len(subjects) == 2:
            continue
        subjects.add(subject)
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
        f"One episode (seed {seed}, {plural(shots, 'shot')}, `logreg` on the encoder's features) has "
        f"{len(episode.query)} query windows of {len(episode.query_subjects)} subjects, at most {PER_CLASS} per "
        f"subject and class; {int(wrong.sum())} are misclassified. "
        "Shown are those with the lowest probability of the true class: at most two per pair of classes, of different "
        "subjects. They are the worst cases, not typical ones."
    )
    return out, how


def failures_section(encoder: Path, data: Path, *, split: str | None = None, most: int = 8, seed: int = 0) -> Section:
    """The section of failure cases; without a possible episode it states the reason.

    Args:
        encoder: encoder folder.
        data: data folder with labels.
        split: split of the episode; default ``test`` if present, else the last.
        most: maximum number of cases.
        seed: seed of the episode.
    """
    title = "Failure cases"
    opened = open_labelled(data)
    if opened.shards is None:
        return Section(title, [Text(f"No failure cases: {opened.dataset} is an array folder, which has no clips.")])
    chosen = split or ("test" if "test" in opened.splits else opened.splits[-1])
    windows = opened.windows(splits=[chosen])
    try:
        found, how = worst_windows(
            load_encoder(encoder), windows, Domain(name="people", split=chosen), most=most, seed=seed
        )
    except (LeakageError, ConfigError) as error:
        return Section(title, [Text(f"No failure cases: {error}.")])
    if not found:
        return Section(title, [Text(how)])
    blocks: list[Block] = [Text(how), Cards(_cards(opened.shards, windows, found))]
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
        Clip(data=base64.b64decode(clip["mp4"]), alt=f"clip of {f.truth}, camera {clip['camera']}")
        for clip in entry["clips"][:1]
    ]
    if not pictures and "pose" in entry and shown["pose"]:
        drawing = shown["pose"]
        track = np.array(entry["pose"], dtype=np.float64)
        poses = figures.poses(track, drawing["bones"], right=drawing["right"], up=drawing["up"])
        pictures.append(svg(poses, f"poses of {f.truth}"))
    device = next(d for d in entry["devices"] if d["placement"] == placement)
    trace = figures.traces(device["values"], shown["channels"], shown["units"], window_s=shown["window_s"])
    pictures.append(svg(trace, f"acceleration and angular rate at the {placement}"))
    facts = [
        ("true class", f"{f.truth} (p {f.of_truth:.3f})"),
        ("predicted", f"{f.predicted} (p {f.confidence:.3f})"),
        ("subject", str(entry["subject"])),
        ("placement", placement),
        ("recording", f"{entry['recording']} at {entry['start']:.1f} s"),
        ("sample", f"{entry['split']}/{entry['key']}"),
    ]
    facts += [("quality", ", ".join(entry["flags"]))] if entry["flags"] else []
    facts += [("clip", "left out: size limit of the page")] if entry.get("left_out") else []
    return Card(title=f"{f.truth}, predicted {f.predicted}", facts=facts, shown=pictures)
