"""Encoders that are shipped inside the package: index, facts, folders; nothing is loaded or downloaded here.

The folder `imu_video/pretrained` contains one encoder folder per shipped encoder, and `index.json` with the sha256 of
every file. `imu_video.bundle.ship` writes both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from imu_video.config import Config
from imu_video.errors import CheckpointError, nearest
from imu_video.runtime import documents
from imu_video.runtime.files import file_sha256

ROOT = Path(__file__).resolve().parents[1] / "pretrained"
"""Folder of the shipped encoders in the installed package."""
INDEX = "index.json"
OWNER = "imu-video"
"""First part of the names of shipped encoders; a name with this owner is never looked up on the hub."""

_AGAIN = "install imu-video again: pip install --force-reinstall imu-video"
_NAME = re.compile(rf"{OWNER}/(?P<folder>[a-z0-9][a-z0-9_-]*)")

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of training data.

    Args:
        name: of the dataset or simulation.
        url: where it is described or obtained.
        licence: of the data.
    """

    name: Text
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    licence: Text


@dataclass(frozen=True, kw_only=True)
class PretrainedEncoder:
    """Facts of an encoder that is shipped inside the package.

    Args:
        name: as `load_encoder` takes it.
        summary: one sentence.
        parameters: number of the encoder's parameters.
        size_bytes: size of all its files.
        feature_dim: E, width of the features.
        licence: of the weights.
        sources: training data.
        command: command that trained it.
        sha256: hash of each file.

    Example:
        >>> small = PretrainedEncoder(
        ...     name="imu-video/small", summary="An example.", parameters=200_000, size_bytes=810_000, feature_dim=192,
        ...     licence="Apache-2.0", sources=(), command="studies/encoder/make.sh", sha256={},
        ... )
        >>> print(small)
        imu-video/small: 200,000 parameters, 192 features, 0.8 MB, Apache-2.0. An example.
    """

    name: Annotated[str, Field(pattern=_NAME.pattern)]
    summary: Text
    parameters: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]
    feature_dim: Annotated[int, Field(ge=1)]
    licence: Text
    sources: tuple[Source, ...]
    command: Text
    sha256: Mapping[FileName, Sha256] = field(repr=False)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.parameters:,} parameters, {self.feature_dim} features, "
            f"{self.size_bytes / 1e6:.1f} MB, {self.licence}. {self.summary}"
        )


class Index(Config):
    """Content of `index.json`.

    Args:
        format, format_version: of the file.
        encoders: shipped encoders, in the order in which they are listed.
    """

    format: Literal["imu-video-pretrained"] = "imu-video-pretrained"
    format_version: Literal[1] = 1
    encoders: tuple[PretrainedEncoder, ...]


def list_pretrained(root: str | Path | None = None) -> list[PretrainedEncoder]:
    """The encoders that are shipped inside the package; neither torch nor a network is used.

    Args:
        root: folder with an `index.json`; None: that of the installed package.

    Raises:
        CheckpointError: the index is missing or damaged.

    Example:
        >>> for encoder in list_pretrained():
        ...     assert encoder.name.startswith("imu-video/")
    """
    return list(read_index(ROOT if root is None else Path(root)).encoders)


def read_index(root: Path) -> Index:
    """Read and check the index of a folder of shipped encoders.

    Raises:
        CheckpointError: missing, damaged, or two encoders of one name.
    """
    path = root / INDEX
    content = documents.read_json(path, error=CheckpointError, hint=_AGAIN)
    index = documents.validate(TypeAdapter(Index), content, str(path), error=CheckpointError, hint=_AGAIN)
    names = [one.name for one in index.encoders]
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path}: a name twice: {', '.join(names)}", hint=_AGAIN)
    return index


def is_shipped_name(source: str | Path) -> bool:
    """Whether a source has the form of a name of a shipped encoder: ``imu-video/small``.

    Example:
        >>> is_shipped_name("imu-video/small"), is_shipped_name("encoders/small")
        (True, False)
    """
    return _NAME.fullmatch(str(source)) is not None


def shipped_folder(name: str | Path, *, root: Path | None = None) -> Path:
    """The folder of a shipped encoder, after the comparison of its files with the hashes of the index.

    Args:
        name: such as ``imu-video/small``.
        root: folder with an `index.json`; None: that of the installed package.

    Raises:
        CheckpointError: no shipped encoder of this name, or files that differ from those that were shipped.
    """
    base = ROOT if root is None else root
    known = {one.name: one for one in read_index(base).encoders}
    found = known.get(str(name))
    if found is None:
        listed = f"shipped are {', '.join(known)}" if known else "this version ships no encoders"
        raise CheckpointError(
            f"{name}: no shipped encoder of this name{nearest(str(name), known)}; {listed}",
            hint="`imu-video list pretrained` lists them; a repository of the hub is written hf://owner/name",
        )
    folder = base / found.name.partition("/")[2]
    for file, expected in found.sha256.items():
        path = folder / file
        seen = file_sha256(path) if path.is_file() else None
        if seen != expected:
            what = "no such file" if seen is None else f"sha256 is {seen[:12]}, {INDEX} expects {expected[:12]}"
            raise CheckpointError(f"{name}: {path}: {what}", hint=_AGAIN)
    return folder
