"""MATLAB files (version 7 and older) with errors that name the file; version 7.3 (HDF5) is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import RecordingError


def load_mat(path: Path, key: str) -> np.ndarray:
    """One array of a MATLAB file.

    Raises:
        RecordingError: missing or damaged file, or no such array in it.
    """
    return np.asarray(_load(path, key))


def load_struct(path: Path, key: str) -> Any:
    """One struct of a MATLAB file, fields as attributes and singleton dimensions removed.

    Raises:
        RecordingError: missing or damaged file, or no such struct in it.
    """
    found = _load(path, key, squeeze_me=True, struct_as_record=False)
    if not hasattr(found, "_fieldnames"):
        raise RecordingError(f"{path}: {key!r} is {type(found).__name__}, expected a struct")
    return found


def _load(path: Path, key: str, **options: Any) -> Any:
    from scipy.io import loadmat

    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    try:
        content = loadmat(path, variable_names=[key], **options)
    except Exception as error:  # damaged files make scipy raise about a dozen types of errors, including IndexError
        raise RecordingError(f"{path}: not a readable MATLAB file: {error}") from error
    if key not in content:
        raise RecordingError(f"{path}: no array {key!r}")
    return content[key]
