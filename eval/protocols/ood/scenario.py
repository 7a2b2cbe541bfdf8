"""Domains of labelled windows, and disjoint training, validation and query rows for a target domain.

A *moment* is a time interval of one recording: windows of several devices at one time are one moment. Source rows are
divided into training and validation by moments: the last moments of each subject and class validate, and training
windows that overlap them are excluded. With ``validation_by: windows`` they are divided at random instead, as in the
released code of HAROOD, where windows of one moment and overlapping windows are on both sides.

With ``people: disjoint`` no target subject is in the sources. If a subject is in two domains (as with placements),
subjects are divided into folds: seed k tests fold k and trains on the others, so that with as many seeds as folds every
subject is tested once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.data.labelmaps import map_labels
from eval.data.windows import LabelledWindows
from eval.protocols.ood.config import OodConfig, Scenario
from imu_video.errors import ConfigError, LeakageError, nearest


@dataclass(frozen=True, kw_only=True, eq=False)
class Domains:
    """Windows of a scenario and the domain of each.

    Args:
        windows: kept windows, labels renumbered to the scenario's classes.
        names: names of the domains.
        of: (N,) int64 domain index of each window.
    """

    windows: LabelledWindows
    names: tuple[str, ...]
    of: np.ndarray

    def number(self, name: str) -> int:
        """Index of a domain.

        Raises:
            ConfigError: no such domain.
        """
        if name not in self.names:
            raise ConfigError(
                f"no domain {name!r}{nearest(name, self.names)}", hint=f"domains: {', '.join(self.names)}"
            )
        return self.names.index(name)


def divide(windows: LabelledWindows, scenario: Scenario) -> Domains:
    """Select the windows of a scenario and assign a domain to each.

    Raises:
        ConfigError: an axis, value or label that the data does not have, or fewer than two domains or classes.
    """
    if scenario.label_map is not None:
        windows = map_labels(windows, scenario.label_map)
    rows = windows.rows(placements=scenario.placements, where=scenario.where)
    windows = windows.take(rows)
    if scenario.axis not in windows.facts:
        raise ConfigError(
            f"scenario {scenario.name!r}: no axis {scenario.axis!r} in the data{nearest(scenario.axis, windows.facts)}",
            hint=f"one of: {', '.join(sorted(windows.facts))}",
        )
    values = windows.facts[scenario.axis]
    groups = _groups(sorted(set(values.tolist())), scenario)
    names = tuple(groups)
    # Windows with a value outside all domains keep -1 and are dropped below.
    of = np.full(len(windows), -1, dtype=np.int64)
    for index, members in enumerate(groups.values()):
        of[np.isin(values, members)] = index
    keep = of >= 0
    kept_labels = _labels(windows, of, len(names), scenario)
    keep &= np.isin(windows.labels, [windows.classes.index(name) for name in kept_labels])
    rows = np.flatnonzero(keep)
    if scenario.per_class is not None:
        rows = _thin(windows, rows, of, scenario.per_class)
    # Class indices are renumbered, because the shared classes are a subset of the data's classes.
    windows, of = windows.take(rows), of[rows]
    new_index = np.full(len(windows.classes), -1)
    for index, name in enumerate(kept_labels):
        new_index[windows.classes.index(name)] = index
    windows = replace(windows, labels=new_index[windows.labels], classes=tuple(kept_labels))
    empty = [name for index, name in enumerate(names) if not (of == index).any()]
    if empty:
        raise ConfigError(f"scenario {scenario.name!r}: domains {empty} have no labelled window")
    return Domains(windows=windows, names=names, of=of)


def _groups(values: list[str], scenario: Scenario) -> dict[str, list[str]]:
    where = f"scenario {scenario.name!r}"
    if scenario.domains is not None:
        owner: dict[str, str] = {}
        for name, members in scenario.domains.items():
            for member in members:
                if member not in values:
                    raise ConfigError(f"{where}: {scenario.axis} has no value {member!r}{nearest(member, values)}")
                if owner.setdefault(member, name) != name:
                    raise LeakageError(f"{where}: {member!r} is in domain {owner[member]!r} and in domain {name!r}")
        return {name: list(members) for name, members in scenario.domains.items()}
    # An empty value means that the fact is unknown, which is not a domain.
    values = [v for v in values if v]
    if scenario.groups is not None:
        if len(values) < scenario.groups:
            fewer = f"scenario.groups={max(2, len(values) // 2)}, or null for one domain per {scenario.axis}"
            raise ConfigError(
                f"{where}: {len(values)} values of {scenario.axis} are too few for {scenario.groups} groups",
                hint=fewer if len(values) > 1 else None,
            )
        parts = np.array_split(np.array(values), scenario.groups)
        return {f"{part[0]}..{part[-1]}" if len(part) > 1 else str(part[0]): part.tolist() for part in parts}
    if len(values) < 2:
        raise ConfigError(f"{where}: {scenario.axis} has only {values}, a shift requires two domains")
    return {value: [value] for value in values}


def _labels(windows: LabelledWindows, of: np.ndarray, domains: int, scenario: Scenario) -> list[str]:
    present = {
        name: {int(d) for d in np.unique(of[(windows.labels == c) & (of >= 0)])}
        for c, name in enumerate(windows.classes)
    }
    if scenario.labels is not None:
        for name in scenario.labels:
            if name not in present:
                raise ConfigError(f"scenario {scenario.name!r}: no label {name!r}{nearest(name, present)}")
            if len(present[name]) < domains and scenario.absent == "drop":
                raise ConfigError(
                    f"scenario {scenario.name!r}: label {name!r} is missing in {domains - len(present[name])} domains",
                    hint="scenario.absent=keep keeps it; the domains that lack it then have fewer classes",
                )
        return sorted(scenario.labels)
    least = domains if scenario.absent == "drop" else 1
    common = sorted(name for name, found in present.items() if len(found) >= least)
    if len(common) < 2:
        raise ConfigError(f"scenario {scenario.name!r}: the domains share the classes {common}, expected at least 2")
    return common


def _thin(windows: LabelledWindows, rows: np.ndarray, of: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` windows per subject, class and domain, evenly spaced over recordings and time."""
    kept = []
    for group in _grouped(rows, windows.subject, windows.labels, of):
        order = group[np.lexsort((windows.start[group], windows.recording[group]))]
        kept.append(order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)])
    return np.sort(np.concatenate(kept))


def _grouped(rows: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
    """Rows grouped by equal values of all columns."""
    # Columns have different types, so each is replaced by integer codes first.
    codes = np.stack([np.unique(column[rows], return_inverse=True)[1] for column in columns], axis=1)
    _, group = np.unique(codes, axis=0, return_inverse=True)
    return [rows[group.ravel() == g] for g in range(int(group.max(initial=-1)) + 1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """Rows of one run; raises if a row, a time interval or (``disjoint``) a subject is on two sides.

    Args:
        domains: the windows that the row numbers refer to.
        train, valid: row numbers of each source domain.
        query: row numbers of the target.
        people: ``disjoint`` or ``shared``, as in the scenario.
        validation_by: ``times`` or ``windows``, as in the scenario.

    Raises:
        LeakageError: a window on two sides, (``times``) overlapping moments of training and validation, or
            (``disjoint``) a subject or recording of the target in the sources.
    """

    domains: Domains
    train: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]
    query: np.ndarray
    people: str
    validation_by: str = "times"

    def __post_init__(self) -> None:
        windows = self.domains.windows
        train, valid = np.concatenate(self.train), np.concatenate(self.valid)
        for a, b, what in (
            (train, valid, "training and validation"),
            (np.union1d(train, valid), self.query, "sources and target"),
        ):
            if len(shared := np.intersect1d(a, b)):
                raise LeakageError(f"{len(shared)} windows are in {what}, the first: row {shared[0]}")
        if self.validation_by == "times" and len(clash := overlapping(windows, train, valid)):
            raise LeakageError(f"{len(clash)} training windows overlap validation windows, the first: row {clash[0]}")
        if self.people == "disjoint":
            sources = np.union1d(train, valid)
            people = np.intersect1d(windows.subject[sources], windows.subject[self.query])
            if len(people):
                raise LeakageError(f"subjects {people.tolist()} are in the sources and in the target")
            recordings = np.intersect1d(windows.recording[sources], windows.recording[self.query])
            if len(recordings):
                raise LeakageError(f"recordings {recordings[:3].tolist()} are in the sources and in the target")


def division(domains: Domains, scenario: Scenario, *, target: str, held: str | None = None, seed: int = 0) -> Division:
    """Training, validation and query rows of one run.

    Args:
        domains: from `divide`.
        scenario: the scenario of the domains.
        target: the target domain.
        held: a further domain that is not trained on and is queried instead of the target (leave-one-domain-out).
        seed: chooses the fold of subjects, and the windows of ``validation_by: windows``.

    Raises:
        ConfigError: too few subjects, domains or windows.
        LeakageError: see `Division`.
    """
    windows = domains.windows
    queried = domains.number(target if held is None else held)
    out = {domains.number(target), queried}
    sources = [d for d in range(len(domains.names)) if d not in out]
    if not sources:
        raise ConfigError(
            f"scenario {scenario.name!r}: no source domain is left without {sorted(domains.names[d] for d in out)}"
        )
    query = np.flatnonzero(domains.of == queried)
    source = np.flatnonzero(np.isin(domains.of, sources))
    # Where each subject is in one domain only, the domains themselves keep sources and target apart.
    if scenario.people == "disjoint" and _people_recur(domains):
        tested = _fold(windows.subject, scenario.folds, seed)
        query, source = (
            query[np.isin(windows.subject[query], tested)],
            source[~np.isin(windows.subject[source], tested)],
        )
        if not len(query) or not len(source):
            raise ConfigError(
                f"scenario {scenario.name!r}, target {target!r}, seed {seed}: no window is left after subjects are "
                f"divided into {scenario.folds} folds",
                hint="use fewer folds, or people: shared",
            )
    if scenario.validation_by == "windows":
        drawn = [_drawn(domains, scenario, source[domains.of[source] == d], d, seed) for d in sources]
        training, valid = (np.sort(np.concatenate(rows)) for rows in zip(*drawn, strict=True))
    else:
        validating = _validating(windows, source, scenario.validation)
        training, valid = source[~validating], source[validating]
        # Sliding windows overlap: without this, samples of validation windows would be trained on.
        training = np.setdiff1d(training, overlapping(windows, training, valid))
    result = Division(
        domains=domains,
        train=tuple(training[domains.of[training] == d] for d in sources),
        valid=tuple(valid[domains.of[valid] == d] for d in sources),
        query=query,
        people=scenario.people,
        validation_by=scenario.validation_by,
    )
    for d, rows in zip(sources, result.train, strict=True):
        if not len(rows):
            raise ConfigError(f"scenario {scenario.name!r}: source domain {domains.names[d]!r} has no training window")
    return result


def folds_of(domains: Domains, config: OodConfig) -> dict[str, str] | None:
    """The fold that each subject is tested in: all subjects of a fold have the same training data.

    With subjects as domains a fold is a target; with subjects in several domains it is one of ``scenario.folds``, which
    the seed chooses. Targets of other axes are fixed: they are no sample of a population of folds.

    Returns:
        Subject -> fold, or None where no subject is tested in folds.
    """
    windows, scenario = domains.windows, config.scenario
    if scenario.people != "disjoint":
        return None
    if _people_recur(domains):
        seeds = [(f"fold {seed % scenario.folds}", seed) for seed in config.seeds]
        return {s: name for name, seed in seeds for s in _fold(windows.subject, scenario.folds, seed)}
    if scenario.axis != "subject":
        return None
    return {s: domains.names[d] for s, d in zip(windows.subject.tolist(), domains.of.tolist(), strict=True)}


def _people_recur(domains: Domains) -> bool:
    """Whether a subject is in two domains."""
    pairs = set(zip(domains.windows.subject.tolist(), domains.of.tolist(), strict=True))
    return len({subject for subject, _ in pairs}) < len(pairs)


def _fold(subjects: np.ndarray, folds: int, seed: int) -> list[str]:
    """Test subjects of a seed: one of the folds of the sorted subjects, shuffled once."""
    people = np.unique(subjects)
    if len(people) < folds:
        raise ConfigError(f"{len(people)} subjects cannot be divided into {folds} folds", hint="scenario.folds=2")
    # Shuffled with a fixed seed: the folds of different run seeds must partition the subjects.
    order = people[np.random.default_rng(0).permutation(len(people))]
    part: list[str] = np.array_split(order, folds)[seed % folds].tolist()
    return part


def _validating(windows: LabelledWindows, rows: np.ndarray, share: float) -> np.ndarray:
    """(n,) bool: rows in the last moments of each subject and class; a moment is on one side in all domains."""
    out = np.zeros(len(rows), dtype=bool)
    place = {int(row): i for i, row in enumerate(rows)}
    for group in _grouped(rows, windows.subject, windows.labels):
        moments = sorted(set(zip(windows.recording[group].tolist(), windows.start[group].tolist(), strict=True)))
        # At least one moment validates and at least one trains; a subject and class with a single moment only trains.
        count = min(max(1, round(share * len(moments))), len(moments) - 1)
        last = set(moments[len(moments) - count :]) if count else set()
        for row in group:
            if (windows.recording[row], windows.start[row]) in last:
                out[place[int(row)]] = True
    return out


def _drawn(
    domains: Domains, scenario: Scenario, rows: np.ndarray, domain: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows of one source domain, drawn at random and stratified by class."""
    from sklearn.model_selection import StratifiedShuffleSplit

    windows = domains.windows
    if scenario.domains is not None:
        # In the order in which the scenario names the values, as the released code reads them: the same arrays and the
        # same seed then give the same windows.
        values = windows.facts[scenario.axis][rows]
        place = {value: i for i, value in enumerate(scenario.domains[domains.names[domain]])}
        rows = rows[np.argsort([place[value] for value in values.tolist()], kind="stable")]
    labels = windows.labels[rows]
    splitter = StratifiedShuffleSplit(
        1, test_size=scenario.validation, train_size=1 - scenario.validation, random_state=seed
    )
    try:
        first, second = next(splitter.split(labels, labels))
    except ValueError as error:
        counts = np.bincount(labels, minlength=len(windows.classes))
        raise ConfigError(
            f"scenario {scenario.name!r}: {len(rows)} windows of domain {domains.names[domain]!r} cannot be divided at "
            f"random by class ({str(error).rstrip('.')}): {dict(zip(windows.classes, counts.tolist(), strict=True))}",
            hint="use scenario.validation_by=times, or scenario.labels without the rare classes",
        ) from error
    return rows[first], rows[second]


def overlapping(windows: LabelledWindows, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The ``rows`` that overlap in time with one of ``others`` in the same recording."""
    clash = []
    for recording in np.intersect1d(windows.recording[rows], windows.recording[others]):
        mine = rows[windows.recording[rows] == recording]
        theirs = np.sort(windows.start[others[windows.recording[others] == recording]])
        after = np.searchsorted(theirs, windows.start[mine])
        # Starts are sorted, so the closest one is at the insertion point or just before it.
        gaps = np.full(len(mine), np.inf)
        for step in (-1, 0):
            at = np.clip(after + step, 0, len(theirs) - 1)
            gaps = np.minimum(gaps, np.abs(theirs[at] - windows.start[mine]))
        # Windows that only touch do not overlap; the tolerance is for rounding of the start times.
        clash.append(mine[gaps < windows.window_s - 1e-6])
    return np.concatenate(clash) if clash else np.zeros(0, dtype=np.int64)


def merge_windows(parts: Sequence[LabelledWindows], *, rate_hz: float | None = None) -> LabelledWindows:
    """Windows of several data folders as one, with a fact ``dataset``; names of subjects get the dataset as prefix.

    Args:
        parts: windows of equal length in seconds and equal channels.
        rate_hz: common sampling rate; None for that of the first.

    Raises:
        ConfigError: windows of different lengths, channels or units.
    """
    first = parts[0]
    rate = first.rate_hz if rate_hz is None else rate_hz
    for part in parts[1:]:
        if abs(part.window_s - first.window_s) > 1e-9 or part.channels != first.channels:
            raise ConfigError(
                f"{part.dataset} has windows of {part.window_s:g} s of {list(part.channels)}, {first.dataset} of "
                f"{first.window_s:g} s of {list(first.channels)}",
                hint="build both folders with the same window.seconds, or read views with the same channels",
            )
        for fact in ("units", "normalised"):
            if getattr(part, fact) != getattr(first, fact):
                raise ConfigError(
                    f"{part.dataset} has windows with {fact} {getattr(part, fact)}, {first.dataset} with "
                    f"{getattr(first, fact)}",
                    hint="prepare both alike, or correct the declaration of the array folder",
                )
    many = len(parts) > 1
    classes = tuple(sorted({name for part in parts for name in part.classes}))
    names = [name for part in parts for name in part.facts]
    facts: dict[str, np.ndarray] = {}
    for name in dict.fromkeys([*names, "dataset"]):
        columns = []
        for part in parts:
            column = (
                np.full(len(part), part.dataset) if name == "dataset" else part.facts.get(name, np.full(len(part), ""))
            )
            # Subject `s1` of two datasets are two subjects.
            if many and name in ("subject", "recording"):
                column = np.char.add(f"{part.dataset}:", column.astype(np.str_))
            columns.append(column)
        facts[name] = np.concatenate(columns)
    samples = round(first.window_s * rate)
    return replace(
        first,
        x=np.concatenate([_at_rate(part, rate, samples) for part in parts]),
        labels=np.concatenate([np.searchsorted(np.array(classes), np.array(p.classes)[p.labels]) for p in parts]),
        classes=classes,
        facts=facts,
        start=np.concatenate([p.start for p in parts]),
        sample=np.concatenate([p.sample for p in parts]),
        gravity=first.gravity if len({p.gravity for p in parts}) == 1 else "mixed",
        timed=all(p.timed for p in parts),
        dataset="+".join(p.dataset for p in parts),
        digest="+".join(p.digest for p in parts),
        rate_hz=rate,
        teacher=None,
        teacher_name=None,
    )


def _at_rate(part: LabelledWindows, rate: float, samples: int) -> np.ndarray:
    from imu_video.recordings.signal import resample_uniform

    x = part.x if abs(part.rate_hz - rate) < 1e-9 else resample_uniform(part.x, part.rate_hz, rate)
    return np.ascontiguousarray(x[..., :samples], dtype=np.float32)
