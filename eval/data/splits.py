"""Domains and K-shot episodes with disjoint subjects and recordings; no features, probes or figures here.

Two settings, never mixed in one table row. *within*: the support comes from the target domain itself. *transfer*: the
support comes from a source domain (a placement or sensor that is easy to label), the queries from the target domain.
In both, support and query subjects are disjoint.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from eval.data.windows import LabelledWindows
from imu_video.arguments import LARGEST_INTEGER, Count, Seed
from imu_video.config import DISTINCT, Config
from imu_video.errors import ConfigError, LeakageError

ATTEMPTS = 200
"""Draws of support subjects before an episode is refused as impossible."""


class Slice(Config):
    """A part of the labelled windows: splits, placements and tag filters (None or empty = any)."""

    split: str | list[str] = "test"
    placements: Annotated[list[str] | None, DISTINCT] = None
    where: dict[str, str | list[str]] = Field(default_factory=dict)

    @property
    def splits(self) -> list[str]:
        """The splits as a list."""
        return [self.split] if isinstance(self.split, str) else list(self.split)

    def rows(self, windows: LabelledWindows) -> np.ndarray:
        """Row numbers of the windows in this slice."""
        return windows.rows(splits=self.splits, placements=self.placements, where=self.where)


class Domain(Slice):
    """A named target slice, and the source of its support labels.

    Args:
        name: as it appears in tables.
        setting: ``within`` or ``transfer``, see the module's first lines.
        source: slice of a transfer support; None for ``within``.
        labels: classes to distinguish; None keeps every class with enough subjects and windows.
    """

    name: str
    setting: Literal["within", "transfer"] = "within"
    source: Slice | None = None
    labels: list[str] | None = None

    @model_validator(mode="after")
    def _source_goes_with_transfer(self) -> Domain:
        if (self.setting == "transfer") != (self.source is not None):
            raise ValueError(f"domain {self.name!r}: `source` is required with setting: transfer, and only then")
        return self

    @property
    def all_splits(self) -> list[str]:
        """Splits of target and source."""
        return self.splits + (self.source.splits if self.source else [])


class EpisodeConfig(Config):
    """How episodes are drawn.

    Args:
        shots: labelled windows per class; the support of every shot count is a prefix of the largest.
        episodes: number of episodes per domain.
        seed: base seed; an episode depends only on (seed, domain name, episode number) and on the data.
        support_subjects: number of subjects that provide the support; default: as many as shots, at most half of the
            subjects.
        windows_per_class: maximum number of windows per subject and class in a domain, as support or query; they are
            drawn once, spread over recordings and time. None for all.
    """

    shots: list[Count] = Field(default=[1, 5], min_length=1)
    episodes: int = Field(default=100, ge=1, le=10**6)
    seed: Seed = 0
    support_subjects: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    windows_per_class: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)

    @model_validator(mode="after")
    def _positive(self) -> EpisodeConfig:
        if min(self.shots) < 1 or len(set(self.shots)) != len(self.shots):
            raise ValueError(f"shots must be distinct and >= 1, got {self.shots}")
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One draw of support and query, without common subjects or recordings.

    Args:
        windows: the windows that the row numbers refer to.
        support: (M, K) row numbers, one line per class of the domain; ``[:, :S]`` is the S-shot set.
        query: (Q,) row numbers.
        number: number of the episode.

    Raises:
        LeakageError: a subject or recording is in support and query.

    Example:
        ``episode.support_rows(5)`` gives the 5-shot rows and their class numbers.
    """

    windows: LabelledWindows = field(repr=False)
    support: np.ndarray
    query: np.ndarray
    number: int = 0

    def __post_init__(self) -> None:
        for what, column in (("subjects", self.windows.subject), ("recordings", self.windows.recording)):
            shared = np.intersect1d(column[self.support.ravel()], column[self.query])
            if len(shared):
                raise LeakageError(
                    f"episode {self.number}: {what} {shared.tolist()} are in support and in query",
                    hint="draw support and query from different subjects",
                )

    def support_rows(self, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and class numbers (0..M-1, the order of the domain's classes) of the S-shot support, each (M*S,).

        Raises:
            ValueError: more shots than the episode has, or fewer than one.
        """
        if not 1 <= shots <= self.support.shape[1]:
            raise ValueError(f"the episode has {self.support.shape[1]} shots per class, {shots} are requested")
        rows = self.support[:, :shots]
        return rows.ravel(), np.repeat(np.arange(len(rows)), shots)

    @property
    def query_subjects(self) -> list[str]:
        """Sorted query subjects."""
        return np.unique(self.windows.subject[self.query]).tolist()


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """All episodes of a domain.

    Args:
        domain: the domain.
        classes: numbers into ``windows.classes`` of the M classes to distinguish.
        names: their names.
        left_out: classes of the domain with too few subjects or windows.
        episodes: the draws.
        subjects: query subjects of all episodes, sorted.
        target: query rows of all episodes, sorted.
    """

    domain: Domain
    classes: np.ndarray
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    episodes: tuple[Episode, ...]
    subjects: tuple[str, ...]
    target: np.ndarray

    @cached_property
    def queried(self) -> np.ndarray:
        """Whether each target row is a query of each episode. Shape: (episodes, n) bool."""
        queried = np.zeros((len(self.episodes), len(self.target)), dtype=bool)
        for own, episode in zip(queried, self.episodes, strict=True):
            own[np.searchsorted(self.target, episode.query)] = True
        return queried

    def supporting(self, shots: int) -> np.ndarray:
        """Whether each subject provides support in each episode: query subjects, then those that are never a query.

        Shapes: (episodes, S + X) bool.
        """
        found = [np.unique(e.windows.subject[e.support_rows(shots)[0]]) for e in self.episodes]
        others = np.setdiff1d(np.concatenate(found), np.array(self.subjects))
        return np.stack([np.isin(np.concatenate([np.array(self.subjects), others]), own) for own in found])

    @property
    def rows(self) -> np.ndarray:
        """Every row that an episode uses, sorted."""
        support = np.concatenate([e.support.ravel() for e in self.episodes])
        return np.union1d(self.target, support)


class _TooFewWindows(ConfigError):
    """The data has too few windows for the largest shot count."""


def draw_episodes(windows: LabelledWindows, domain: Domain, config: EpisodeConfig) -> Episodes:
    """Draw the episodes of a domain.

    In each episode some subjects provide the support and all others are query subjects. The shots of a class are drawn
    round-robin over the support subjects; within a subject, unused recordings and non-overlapping times come first.

    Raises:
        ConfigError: too few subjects, classes or windows for the largest shot count.
    """
    try:
        return _draw_episodes(windows, domain, config)
    except _TooFewWindows as error:
        fewer = _feasible_shots(windows, domain, config)
        hint = f"use --shots {fewer} or fewer; {error.hint}" if fewer else error.hint
        raise ConfigError(error.message, hint=hint) from error


def _feasible_shots(windows: LabelledWindows, domain: Domain, config: EpisodeConfig) -> int | None:
    """A smaller shot count with which the episodes of the domain can be drawn, found by drawing them."""
    shots = max(config.shots) // 2
    while shots:
        try:
            _draw_episodes(windows, domain, config.model_copy(update={"shots": [shots]}))
        except _TooFewWindows:
            shots //= 2
        else:
            return shots
    return None


def _draw_episodes(windows: LabelledWindows, domain: Domain, config: EpisodeConfig) -> Episodes:
    shots = max(config.shots)
    name_seed = zlib.crc32(domain.name.encode())
    target = domain.rows(windows)
    source = target if domain.source is None else domain.source.rows(windows)
    if config.windows_per_class is not None:
        rng = np.random.default_rng([config.seed, name_seed])
        target = _thin(windows, target, config.windows_per_class, rng)
        source = target if domain.source is None else _thin(windows, source, config.windows_per_class, rng)
    classes, left_out = _classes(windows, domain, target, source, shots)
    target = target[np.isin(windows.labels[target], classes)]
    source = source[np.isin(windows.labels[source], classes)]
    support_subjects, query_subjects = np.unique(windows.subject[source]), np.unique(windows.subject[target])
    count = _support_count(domain, config, support_subjects, query_subjects)
    pools = {
        s: [source[(windows.subject[source] == s) & (windows.labels[source] == c)] for c in classes]
        for s in support_subjects.tolist()
    }
    episodes = []
    for number in range(config.episodes):
        # A generator per episode: more episodes or other domains do not change the episodes before.
        rng = np.random.default_rng([config.seed, name_seed, number])
        chosen = _choose_subjects(windows, domain, pools, query_subjects, classes, count, shots, rng)
        support = np.stack([_spread(windows, [pools[s][m] for s in chosen], shots, rng) for m in range(len(classes))])
        query = target[~np.isin(windows.subject[target], chosen)]
        # Subjects of one recording share its conditions, so a support recording gives no query of another subject.
        query = query[~np.isin(windows.recording[query], np.unique(windows.recording[support]))]
        episodes.append(Episode(windows=windows, support=support, query=query, number=number))
    queried = np.unique(np.concatenate([e.query for e in episodes]))
    return Episodes(
        domain=domain,
        classes=classes,
        names=tuple(windows.classes[c] for c in classes),
        left_out=left_out,
        episodes=tuple(episodes),
        subjects=tuple(np.unique(windows.subject[queried]).tolist()),
        target=queried,
    )


def _classes(
    windows: LabelledWindows, domain: Domain, target: np.ndarray, source: np.ndarray, shots: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers to distinguish, and names of classes with too few subjects (2) or windows (the shots)."""
    kept, left_out = [], []
    wanted = windows.classes if domain.labels is None else domain.labels
    for name in wanted:
        if name not in windows.classes:
            raise ConfigError(f"domain {domain.name!r}: label {name!r} is not among {list(windows.classes)}")
        c = windows.classes.index(name)
        # One subject per window: lengths count windows, unions count subjects.
        sources, queries = (windows.subject[rows[windows.labels[rows] == c]] for rows in (source, target))
        if len(sources) >= shots and len(queries) and len(np.union1d(sources, queries)) >= 2:
            kept.append(c)
        elif domain.labels is not None:
            raise _TooFewWindows(
                f"domain {domain.name!r}: label {name!r} has {len(sources)} windows for {shots} shots "
                f"and {len(np.unique(queries))} subjects in the target; support and query subjects must both have it",
                hint="or remove the label from the domain's `labels`",
            )
        elif len(sources) or len(queries):
            left_out.append(name)
    if len(kept) < 2:
        found = np.union1d(windows.subject[source], windows.subject[target]).tolist()
        if len(found) == 1:
            raise ConfigError(
                f"domain {domain.name!r}: support and query need different subjects, all windows are of {found[0]!r}",
                hint="build again with two subjects or more in this split, for example "
                "'splits={subjects: {train: [a, b], val: [c], test: [d, e]}}', or re-split the folder "
                "(`imu-video split DATA NEW SPLITS.yaml`), and pretrain again: test subjects must not be in `train`",
            )
        most = max((int((windows.labels[source] == c).sum()) for c in range(len(windows.classes))), default=0)
        raise _TooFewWindows(
            f"domain {domain.name!r}: evaluation with {shots} shots requires two classes with at least {shots} windows "
            f"and two subjects each, found {len(kept)} (largest class: {most} windows)",
            hint="widen the domain's split, placements or filters",
        )
    return np.array(sorted(kept)), tuple(left_out)


def _support_count(domain: Domain, config: EpisodeConfig, sources: np.ndarray, queries: np.ndarray) -> int:
    """Number of support subjects of an episode."""
    shared = len(np.intersect1d(sources, queries))
    # If the same subjects provide support and queries, at least one of them must be left for the queries.
    most = len(sources) - 1 if shared == len(queries) and len(sources) == shared else len(sources)
    if most < 1:
        raise ConfigError(
            f"domain {domain.name!r}: support and query need different subjects, found only {sources.tolist()}",
            hint="use a split with two subjects or more",
        )
    if config.support_subjects is not None:
        if config.support_subjects > most:
            raise ConfigError(
                f"domain {domain.name!r}: support_subjects={config.support_subjects}, but only {most} of "
                f"{len(sources)} subjects can provide support"
            )
        return config.support_subjects
    half = max(1, len(sources) // 2) if shared else len(sources)
    return min(max(config.shots), half)


def _choose_subjects(
    windows: LabelledWindows,
    domain: Domain,
    pools: Mapping[str, Sequence[np.ndarray]],
    query_subjects: np.ndarray,
    classes: np.ndarray,
    count: int,
    shots: int,
    rng: np.random.Generator,
) -> list[str]:
    """Draw support subjects that together have enough windows of every class and leave a query subject."""
    names = sorted(pools)
    sizes = np.array([[len(rows) for rows in pools[s]] for s in names])
    lacking_draws = np.zeros(len(classes), dtype=int)
    # Rejection sampling keeps the draw uniform over the admissible sets of subjects.
    for _ in range(ATTEMPTS):
        drawn = rng.permutation(len(names))[:count]
        chosen = [names[i] for i in drawn]
        lacking = sizes[drawn].sum(axis=0) < shots
        lacking_draws += lacking
        if not lacking.any() and np.setdiff1d(query_subjects, chosen).size:
            return chosen
    rarest = windows.classes[classes[int(lacking_draws.argmax())]]
    raise _TooFewWindows(
        f"domain {domain.name!r}: no draw of {count} support subjects out of {ATTEMPTS} had {shots} windows of each "
        f"class and left a query subject; {rarest!r} has the fewest windows",
        hint="list the domain's `labels` without it, or raise episodes.support_subjects",
    )


def _spread(windows: LabelledWindows, pools: Sequence[np.ndarray], shots: int, rng: np.random.Generator) -> np.ndarray:
    """K rows of one class, round-robin over its subjects in random order. Shape: (K,)."""
    groups = [pools[i] for i in rng.permutation(len(pools))]
    turns = [(turn, i) for turn in range(shots) for i, rows in enumerate(groups) if turn < len(rows)][:shots]
    quota = np.bincount([i for _, i in turns], minlength=len(groups))
    queues = [_ordered(windows, rows, int(n), rng) for rows, n in zip(groups, quota, strict=True)]
    return np.array([queues[i][turn] for turn, i in turns], dtype=np.int64)


def spread_over_subjects(
    windows: LabelledWindows, rows: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows drawn round-robin over their subjects, at most ``number``; within a subject, unused recordings come first.

    The first k rows do not depend on ``number``: from an rng in the same state, a smaller draw is a prefix of a
    larger one. Shape: (number,).

    Args:
        windows: windows that the rows refer to.
        rows: candidates.
        number: largest number of rows.
        rng: source of the draws.
    """
    groups = [rows[windows.subject[rows] == s] for s in np.unique(windows.subject[rows])]
    return _spread(windows, groups, min(number, len(rows)), rng)


def _ordered(windows: LabelledWindows, rows: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of one subject, at most ``number``: unused recordings first, windows that overlap a chosen one last."""
    rows = rows[rng.permutation(len(rows))]
    if number < 2:
        return rows[:number]
    recording = np.unique(windows.recording[rows], return_inverse=True)[1]
    start = windows.start[rows]
    free = np.ones(len(rows), dtype=bool)
    used = np.zeros(recording.max() + 1)
    clash = np.zeros(len(rows))
    order: list[int] = []
    for _ in range(number):
        # Overlap with a chosen window weighs more than any number of uses of a recording.
        cost = np.where(free, clash * len(rows) + used[recording], np.inf)
        best = int(np.argmin(cost))  # ties fall to the random order
        order.append(best)
        free[best] = False
        used[recording[best]] += 1
        clash += (recording == recording[best]) & (np.abs(start - start[best]) < windows.window_s - 1e-9)
    return rows[order]


def _thin(windows: LabelledWindows, rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``most`` rows per subject and class, spread over recordings and time, in the original order."""
    subject = np.unique(windows.subject[rows], return_inverse=True)[1]
    group = subject * len(windows.classes) + windows.labels[rows]
    kept = []
    for g in np.unique(group):
        own = rows[group == g]
        kept.append(own if len(own) <= most else _ordered(windows, own, most, rng))
    return np.sort(np.concatenate(kept))


def refuse_training_subjects(lineage: Mapping[str, Any], windows: LabelledWindows, rows: np.ndarray) -> list[str]:
    """Refuse query subjects on whom the encoder was pretrained.

    Subjects are compared within the same dataset only, since names such as ``s01`` recur.

    Args:
        lineage: lineage of an exported encoder.
        windows: the windows that the row numbers refer to.
        rows: every row that may be a query.

    Returns:
        Query subjects of the run's validation split, on which the checkpoint was chosen: allowed, but to be reported.

    Raises:
        LeakageError: training subjects of the same dataset are among the queries, or the subjects of arrays cannot be
            compared with them.
    """
    dataset = windows.dataset
    train, validation = pretraining_subjects(lineage, dataset)
    if not train and not validation:
        return []
    queried = set(windows.subject[rows].tolist())
    if not windows.timed and not {*train, *validation} & set(windows.subject.tolist()):
        # Arrays have codes of subjects, and nothing says that code 0 is the first subject of the shards.
        raise LeakageError(
            f"the encoder was pretrained on {dataset} with subjects named like {', '.join(train[:3])}; the arrays name "
            f"them {', '.join(sorted(queried)[:3])} ..., so they cannot be compared",
            hint="give the codes the names of the subjects in arrays.yaml: values: {subject: [...]}",
        )
    shared = sorted(queried & set(train))
    if shared:
        raise LeakageError(
            f"the encoder was pretrained on {len(shared)} of the query subjects: {dataset} {shared}",
            hint="evaluate a split without training subjects of this encoder, or pretrain on the `train` split of this "
            "data folder",
        )
    return sorted(queried & set(validation))


def pretraining_subjects(lineage: Mapping[str, Any], dataset: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and validation subjects of a dataset in the pretraining of an encoder; empty for other datasets.

    Mixtures name their subjects after the dataset (``hapt/s01``). The encoder that a run was initialised from counts as
    well. A split of the lineage that is not its validation split counts as training.

    Args:
        lineage: lineage of an exported encoder.
        dataset: name of the dataset whose subjects are wanted.
    """
    train, validation = set[str](), set[str]()
    stage: Any = lineage
    while isinstance(stage, Mapping):
        facts = stage.get("dataset")
        if isinstance(facts, Mapping) and isinstance(facts.get("subjects"), Mapping):
            chosen_on = (stage.get("config") or {}).get("data.val_split")
            alone = str(facts.get("dataset")) == dataset
            for split, subjects in facts["subjects"].items():
                names = {str(s) for s in subjects}
                own = {s.removeprefix(f"{dataset}/") for s in names if alone or s.startswith(f"{dataset}/")}
                (validation if split == chosen_on else train).update(own)
        start = stage.get("init")
        stage = start.get("lineage") if isinstance(start, Mapping) else None
    return tuple(sorted(train)), tuple(sorted(validation - train))
