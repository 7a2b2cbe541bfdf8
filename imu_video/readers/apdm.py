"""APDM Opal (.h5): recordings of Motion Studio and Mobility Lab, format 5 and later; no processed results.

Layout as in APDM's description of its HDF5 format: a group ``Sensors`` with one group per monitor, which contains
``Time`` (microseconds since 1970), ``Accelerometer`` (m/s^2), ``Gyroscope`` (rad/s) and ``Magnetometer`` (uT), and the
label of the body part as an attribute of its ``Configuration``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import DeviceReading, Reader, Reading, Track
from imu_video.readers.files import finite
from imu_video.readers.members import head
from imu_video.registry import readers

_SENSORS = {"Accelerometer": ("acc", "m/s^2"), "Gyroscope": ("gyr", "rad/s"), "Magnetometer": ("mag", "uT")}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST = 200_000_000
"""Most samples of a sensor: two weeks at 128 Hz are 155 million."""
_LARGEST_RATIO = 1000


@readers.register("apdm")
class Apdm(Reader):
    """HDF5 recordings of APDM Opal monitors; each monitor is a device named by its label (``left_foot``).

    Example:
        >>> readers.build("apdm").formats
        ('.h5', '.hdf5')
    """

    name = "apdm"
    title = "APDM Opal"
    formats = (".h5", ".hdf5")
    reads = "acceleration, angular rate, magnetic field of every monitor; number of annotations"
    gravity = "included (calibrated acceleration)"
    clock = "first sample; UTC"
    url = "https://www.apdm.com"
    extra = "readers"
    packages = ("h5py",)

    def read(self, path: Path) -> Reading:
        """All monitors of the file."""
        h5py = _h5py()
        if not path.is_file():
            raise RecordingError(f"{path}: no such file")
        try:
            with h5py.File(path, "r") as file:
                return _reading(file, path)
        # The library raises errors of many kinds on damaged files, with texts about its own inner functions.
        except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
            raise RecordingError(
                f"{path}: not a complete HDF5 file ({type(error).__name__}: {str(error)[:120]})",
                hint="export the recording again",
            ) from error

    def recognises(self, path: Path) -> str | None:
        """The mark of HDF5, and the names of the groups near its beginning."""
        begin = head(path, 1 << 16)
        known = begin.startswith(_HDF5) and b"Sensors" in begin and b"FileFormatVersion" in begin
        return "HDF5 file with FileFormatVersion and Sensors" if known else None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            f"the reader apdm needs the package h5py ({error})", hint="pip install 'imu-video[readers]'"
        ) from error
    return h5py


def _reading(file: Any, path: Path) -> Reading:
    sensors = file.get("Sensors")
    if sensors is None or not hasattr(sensors, "keys"):
        version = file.attrs.get("FileFormatVersion")
        raise RecordingError(
            f"{path}: no group 'Sensors' in it (FileFormatVersion {version}), expected format 5 or later of APDM",
            hint="export the recording from Motion Studio or Mobility Lab in the current format",
        )
    found: dict[str, tuple[dict[str, Track], dict[str, str]]] = {}
    for serial in sorted(sensors.keys()):
        group = sensors[serial]
        tracks = _tracks(group, f"{path}: Sensors/{serial}")
        if not tracks:
            continue
        name = _label(group) or f"monitor_{serial.lower()}"
        if name in found:
            name = f"{name}_{serial.lower()}"
        found[name] = (tracks, {"serial": str(serial)})
    if not found:
        raise RecordingError(f"{path}: no monitor in the group 'Sensors' has samples")
    zero = min(float(track.times[0]) for tracks, _ in found.values() for track in tracks.values())
    devices = tuple(
        DeviceReading(
            name=name,
            tracks={k: Track(times=t.times - zero, values=t.values, unit=t.unit) for k, t in tracks.items()},
            gravity=True,
            tags=tags,
        )
        for name, (tracks, tags) in found.items()
    )
    notes = _notes(file)
    return Reading(devices=devices, tags={"device": "APDM Opal"}, notes=notes, start_utc=zero)


def _tracks(group: Any, where: str) -> dict[str, Track]:
    if "Time" not in group or not any(name in group for name in _SENSORS):
        return {}
    times = _array(group["Time"], 1, where) / 1e6
    if len(times) < 2 or np.any(np.diff(times) <= 0) or not 0 < times[0] < 1e10:
        raise RecordingError(f"{where}/Time: times do not increase, or fewer than two, or no time after 1970")
    tracks = {}
    for name, (kind, unit) in _SENSORS.items():
        if name in group:
            values = _array(group[name], 2, where)
            if values.shape != (len(times), 3):
                raise RecordingError(f"{where}/{name}: shape {values.shape}, expected ({len(times)}, 3)")
            if np.isfinite(values).any():
                tracks[kind] = Track(times=times, values=values.T, unit=unit)
    return tracks


def _array(data: Any, axes: int, where: str) -> np.ndarray:
    # Sizes are checked before reading: a compressed file of some bytes may claim any shape.
    if len(data.shape) != axes or data.shape[0] > _LARGEST or data.size > 3 * _LARGEST or data.dtype.kind not in "iuf":
        raise RecordingError(f"{where}{data.name}: shape {data.shape} of {data.dtype}, expected numbers in {axes} axes")
    if data.nbytes > _LARGEST_RATIO * max(int(data.id.get_storage_size()), 1024):
        raise RecordingError(f"{where}{data.name}: {data.nbytes} bytes in {data.id.get_storage_size()} stored ones")
    return finite(np.asarray(data[()], dtype=np.float64))


def _label(group: Any) -> str:
    """Name of the body part, lower case with underscores; empty without one."""
    attributes = group["Configuration"].attrs if "Configuration" in group else {}
    raw = attributes.get("Label 0", b"")
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else str(raw)
    return re.sub(r"[^a-z0-9]+", "_", text.split("\0")[0].strip().lower()).strip("_")


def _notes(file: Any) -> tuple[str, ...]:
    annotations = file.get("Annotations")
    count = int(annotations.shape[0]) if annotations is not None and getattr(annotations, "shape", None) else 0
    return (f"{count} annotations: not read, because they are marks without a length",) if count else ()
