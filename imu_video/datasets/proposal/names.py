"""Subjects, recordings and placements from the names of files: a pattern that reads every name in one way, or None."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from imu_video.datasets.folder.patterns import Template, placement_name

_BODY = (
    "wrist|waist|hip|pocket|chest|ankle|thigh|upper[_ -]?arm|forearm|arm|head|lower[_ -]?back|back|foot|shin|shank"
    "|trunk|hand|leg|ear|belt|shoe|sternum|knee|elbow|neck|lumbar"
)
_SIDE = "(?:left|right|upper|lower)[_ -]?|[lr][_ -]"
_PLACEMENT = re.compile(rf"(?:^|(?<=[\W_]))(?:{_SIDE})*({_BODY})(?=$|[\W_\d])", re.IGNORECASE)
_SUBJECT = re.compile(r"(s|p|u|sub|subj|subject|user|participant|patient|pat|vp|id|person)[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Names:
    """A pattern for the files of one kind, what its variables are taken from, and the words of each file.

    Args:
        pattern: as in `dataset.yaml`; None if no pattern reads every name in one way.
        evidence: what the subject is taken from.
        words: path -> variables.
        placements: the placements in the names, sorted; empty if the names contain none.
    """

    pattern: str | None
    evidence: str
    words: dict[str, dict[str, str]]
    placements: tuple[str, ...] = ()


def read_names(paths: Sequence[str]) -> Names:
    """A pattern for files, or None if their names do not contain the subject.

    Example:
        >>> found = read_names(["s01/walk_left_wrist.csv", "s01/walk_waist.csv", "s02/run_waist.csv"])
        >>> found.pattern, found.placements
        ('{subject}/{recording}_{placement}.csv', ('left_wrist', 'waist'))
        >>> read_names(["S1_walk.csv", "S2_walk.csv"]).pattern
        '{subject}_{recording}.csv'
        >>> read_names(["walk.csv"]).pattern is None
        True
    """
    placements = _placements(paths)
    common = _common(paths)
    inside = [path[len(common) :] for path in paths]
    for tail, evidence in _candidates(inside, bool(placements)):
        pattern = common + tail
        template = Template(pattern)
        readings = {path: template.readings(path, placements or None) for path in paths}
        if all(len(found) == 1 for found in readings.values()):
            return Names(
                pattern=pattern,
                evidence=evidence,
                words={path: found[0] for path, found in readings.items()},
                placements=placements,
            )
    return Names(pattern=None, evidence="the names do not contain the subject", words={}, placements=())


def _common(paths: Sequence[str]) -> str:
    """Folders above those of the subjects: the same for all files, and no name of a subject.

    Example:
        >>> _common(["data/s1/a.csv", "data/s2/a.csv"]), _common(["anna/a.csv", "anna/b.csv"]), _common(["s1/x/a.csv"])
        ('data/', '', '')
    """
    folders: list[str] = []
    parts = [PurePosixPath(path).parts for path in paths]
    while min(len(p) for p in parts) - len(folders) > 2:
        names = {p[len(folders)] for p in parts}
        if len(names) > 1 or _SUBJECT.fullmatch(next(iter(names))):
            break
        folders.append(names.pop())
    return "".join(f"{folder}/" for folder in folders)


def _placements(paths: Sequence[str]) -> tuple[str, ...]:
    """Placements at the end of every name; empty if one name has none."""
    found = set()
    for path in paths:
        last = list(_PLACEMENT.finditer(PurePosixPath(path).stem))
        if not last or last[-1].end() != len(PurePosixPath(path).stem):
            return ()
        found.add(placement_name(last[-1][0]))
    return tuple(sorted(found))


def _candidates(paths: Sequence[str], placed: bool) -> list[tuple[str, str]]:
    """Patterns in the order of their likelihood, each with what its subject is taken from."""
    parts = [PurePosixPath(path).parts for path in paths]
    endings = {PurePosixPath(path).suffix for path in paths}
    if len(endings) != 1 or len({len(p) for p in parts}) != 1:
        return []
    ending, depth = endings.pop(), len(parts[0])
    stems = {PurePosixPath(path).stem for path in paths}
    if depth == 1:
        if not all(_SUBJECT.match(stem) and re.search(r"[_-]", stem) for stem in stems):
            return []
        found = [re.match(rf"{_SUBJECT.pattern}([_-])", stem, re.IGNORECASE) for stem in stems]
        joints = {match[2] for match in found if match is not None}
        if len(joints) != 1 or None in found:
            return [] if any(not _SUBJECT.fullmatch(stem) for stem in stems) else [(f"{{subject}}{ending}", "the name")]
        joint = joints.pop()
        tails = [f"{{recording}}{joint}{{placement}}", "{placement}"] if placed else ["{recording}"]
        return [(f"{{subject}}{joint}{tail}{ending}", "the beginning of the name") for tail in tails]
    folders = "/".join(["{subject}", "{session}", "{recording}"][: depth - 1])
    whose = "the name of the folder"
    if depth > 4:
        return []
    if depth == 2:
        if placed:
            hyphens = all("-" in stem and "_" not in stem for stem in stems)
            tails = [f"{{recording}}{joint}{{placement}}" for joint in (*("-_" if hyphens else "_-"), " ")]
            return [(f"{{subject}}/{tail}{ending}", whose) for tail in (*tails, "{placement}")]
        return [(f"{{subject}}/{{recording}}{ending}", whose)]
    if placed:
        folders = "{subject}/{recording}" if depth == 3 else folders
        return [(f"{folders}/{{placement}}{ending}", whose), (f"{folders}_{{placement}}{ending}", whose)]
    if len(stems) == 1 and depth == 3:
        return [(f"{{subject}}/{{recording}}/{stems.pop()}{ending}", whose)]
    if depth == 3:
        return [(f"{{subject}}/{{session}}/{{recording}}{ending}", whose)]
    return [(f"{folders}/{stems.pop()}{ending}", whose)] if len(stems) == 1 else []


def beside(pattern: str, words: Sequence[dict[str, str]], paths: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """A pattern for files that belong to the recordings of another pattern, and the paths that it does not read.

    Args:
        pattern: of the IMU files.
        words: variables of each IMU file.
        paths: videos or label files.

    Returns:
        The pattern that reads the most of them, or None if it reads none.

    Example:
        >>> beside("{subject}/{recording}_{placement}.csv", [{"subject": "s1", "recording": "a"}], ["s1/a_labels.csv"])
        ('{subject}/{recording}_labels.csv', ())
    """
    base = re.sub(r"[_-]?{placement}", "", pattern)
    base = base[: base.rindex(".")] if "." in PurePosixPath(base).name else base
    base = base.rstrip("/")
    known = {tuple(sorted((k, v) for k, v in one.items() if k != "placement")) for one in words}
    tails: dict[str, list[str]] = {}
    for one in known:
        start = base
        for variable, word in one:
            start = start.replace(f"{{{variable}}}", word)
        for path in paths:
            for joint in ("", "/"):
                if path.startswith(start + joint) and "/" not in path[len(start + joint) :]:
                    tails.setdefault(joint + path[len(start + joint) :], []).append(path)
    best = max(tails, key=lambda tail: (len(tails[tail]), -len(tail)), default=None)
    if best is None:
        return None
    return base + best, tuple(path for path in paths if path not in tails[best])
