"""Command-line options that several protocols share, and how they change a config; commands are built in cli.py."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.config import EvalConfig
from imu_video.config import Config, load_config
from imu_video.errors import ConfigError, TeacherCacheError, nearest

if TYPE_CHECKING:
    from eval.data.source import LabelledData
    from eval.recipes import Recipe

BASE = Path("configs/eval/base.yaml")

OneEncoder = Annotated[
    Path, typer.Argument(help="Encoder folder, shipped name (imu-video/small), or owner/name on the hub.")
]
Encoder = Annotated[Path, typer.Argument(help="Encoder folder or name, or a folder of them: one per pretraining seed.")]
Also = Annotated[
    list[Path] | None, typer.Option("--also", help="Encoder of the same recipe with another pretraining seed.")
]
Data = Annotated[Path, typer.Argument(help="Data folder with labels from `imu-video build`, or array folder.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Config overrides: section.key=value.")]
ConfigFile = Annotated[Path, typer.Option("--config", help="Evaluation config.")]
Probes = Annotated[list[str] | None, typer.Option("--probe", help="Registered probe; repeatable.")]
Split = Annotated[list[str] | None, typer.Option("--split", help="Evaluate on this split instead of the domains.")]
Placement = Annotated[list[str] | None, typer.Option("--placement", help="With --split: only these devices.")]
By = Annotated[
    list[str] | None,
    typer.Option("--by", help="With --split: add one domain per value of this tag or of `placement`."),
]


def shot_count(text: str) -> int:
    """One value of ``--shots``.

    Raises:
        ConfigError: not a whole number; for a list of numbers the hint repeats the option.

    Example:
        >>> shot_count("5")
        5
    """
    if text.strip().isdecimal():
        return int(text)
    numbers = re.findall(r"\d+", text)
    hint = "repeat --shots: " if len(numbers) > 1 else "for example "
    repeated = " ".join(f"--shots {number}" for number in numbers or [5])
    raise ConfigError(f"--shots {text}: expected one whole number", hint=f"{hint}{repeated}")


def data_and_overrides(words: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """Positional words of a command with several data folders: the folders, and the config overrides among them.

    A word with ``=`` is an override, unless a slash precedes the ``=``: such a word is a path, as in ``./rate=50``.

    Args:
        words: as given on the command line.

    Raises:
        ConfigError: no data folder, or a word that is both an override and a folder.

    Example:
        >>> data_and_overrides([".", "scenario.groups=5"])
        ([PosixPath('.')], ['scenario.groups=5'])
    """
    folders, overrides = [], []
    for word in map(str, words):
        key, equals, _ = word.partition("=")
        if not equals or "/" in key or os.sep in key:
            folders.append(Path(word))
        elif os.path.exists(word):
            raise ConfigError(f"{word!r} is a folder and an override", hint=f"for the folder: ./{word}")
        else:
            overrides.append(word)
    if not folders:
        raise ConfigError("no data folder, only overrides", hint="imu-eval ood DATA ... --config FILE key=value ...")
    return folders, overrides


def need_folders(folders: Sequence[Path]) -> None:
    """Refuse data folders that do not exist.

    Raises:
        ConfigError: the first of them.
    """
    for folder in folders:
        # Addresses of remote folders are checked where they are read.
        if not os.path.exists(_without_view(folder)) and not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(folder)):
            raise ConfigError(
                f"data folder {folder}: no such folder",
                hint="`imu-video build` makes one; an override is written section.key=value",
            )


def _without_view(folder: Path) -> str:
    """The folder of ``FOLDER#VIEW``."""
    before, mark, _ = str(folder).rpartition("#")
    return before if mark and before and not os.path.exists(folder) else str(folder)


def load_evaluation(
    path: Path,
    data: LabelledData | None,
    *,
    short: Mapping[str, Any] | None = None,
    split: Sequence[str] | None = None,
    placement: Sequence[str] | None = None,
    by: Sequence[str] | None = None,
    overrides: Sequence[str] | None = None,
) -> EvalConfig:
    """The config with short options applied first and overrides second.

    Args:
        path: config file.
        data: the opened data; None without ``split``.
        short: config key -> value of a short option; None leaves the config's value.
        split, placement, by: replace the config's domains, see `make_domains`.
        overrides: ``section.key=value``.

    Raises:
        ConfigError: an invalid config, or ``placement`` or ``by`` without ``split``.
    """
    given = [f"{key}={json.dumps(value)}" for key, value in (short or {}).items() if value not in (None, [])]
    if split:
        assert data is not None
        given.append(f"domains={json.dumps(make_domains(data, split, placement, by))}")
    elif placement or by:
        raise ConfigError("--placement and --by require --split", hint="--split test")
    return load_config(path, EvalConfig, [*given, *(overrides or [])])


def make_domains(
    data: LabelledData, split: Sequence[str], placement: Sequence[str] | None, by: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Domains from the short options: the whole split, then one domain per value of each ``by``.

    Raises:
        ConfigError: a ``by`` that is neither ``placement`` nor a tag of the data.
    """
    whole: dict[str, Any] = {"name": "people", "split": list(split)}
    if placement:
        whole["placements"] = list(placement)
    out = [whole]
    for name in by or []:
        if name == "placement":
            out += [{**whole, "name": f"placement={p}", "placements": [p]} for p in placement or data.placements]
        elif name in data.tags:
            out += [{**whole, "name": f"{name}={value}", "where": {name: value}} for value in data.tags[name]]
        else:
            raise ConfigError(f"--by {name!r}: not a tag of the data{nearest(name, [*data.tags, 'placement'])}")
    return out


def encoder_provenance(recipe: Recipe, data: LabelledData, config: Config) -> dict[str, Any]:
    """Fields that all lines about the encoders of one recipe on one dataset share.

    Args:
        recipe: the encoders.
        data: the opened data.
        config: resolved, for its digest.
    """
    from eval.results.lines import provenance

    return provenance(encoder=recipe.provenance, data={"dataset": data.dataset, "digest": data.digest}, config=config)


def lacks_pair(encoder: Path, data: Path) -> str | None:
    """What is missing for comparing IMU windows with the features of the encoder's own teacher; None if nothing.

    Args:
        encoder: encoder folder, with projectors; or a folder of encoders, the first of which is read.
        data: data folder, with cached features of the teacher; or array folder, which has none.

    Raises:
        CheckpointError: a damaged encoder folder.
        DataError: neither a data folder nor an array folder, or a damaged one.
    """
    from eval.data.source import open_labelled
    from eval.recipes import encoder_folders
    from imu_video.models.projectors import PROJECTORS, load_pair_model
    from imu_video.shards.reading.teacher_cache import open_cache

    encoder = encoder_folders(encoder)[0]
    if not (encoder / PROJECTORS).is_file():
        return f"{encoder} has no {PROJECTORS}: the encoder was exported without the projector of a teacher"
    opened = open_labelled(data)
    if opened.shards is None:
        return f"{data} is an array folder: it has no teacher features"
    _, facts = load_pair_model(encoder)
    try:
        open_cache(opened.shards, facts.teacher)
    except TeacherCacheError as error:
        return error.message
    return None
