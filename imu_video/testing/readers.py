"""Contract check of readers on one file of their format; the correctness of values is not checked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imu_video import registry
from imu_video.errors import ConfigError, RecordingError
from imu_video.readers.base import TRACK_UNITS, Reader, Reading
from imu_video.testing.base import Component, build, require

_FOREIGN = {
    "empty": b"",
    "text": "# notes, not a recording\nwalked for a while; très bien\n".encode("latin-1"),
    "zeros": bytes(4096),
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)),
    "archive": b"PK\x03\x04" + bytes(200),
}


def check_reader(reader: Component, file: Path, *, damage: int = 12, seed: int = 0) -> Reading:
    """Check the contract of `readers.Reader`: declared facts, equal readings, units, times; damage is an error.

    Args:
        reader: name, config entry or built reader.
        file: a file or folder of its format.
        damage: number of damaged copies to read: each either still gives a valid reading or a RecordingError.
        seed: of the damage.

    Returns:
        The reading of the file.

    Raises:
        AssertionError: naming the broken point.

    Example:
        ``check_reader("sensor_logger", Path("walk.zip"))``
    """
    built = build(registry.readers, reader)
    name = type(built).__name__
    for attribute in ("name", "title", "reads", "gravity", "clock", "tested_on"):
        value = getattr(built, attribute, None)
        require(isinstance(value, str) and bool(value), f"{name}.{attribute} must be a non-empty string, is {value!r}")
    require(
        bool(built.formats) and all(f == "/" or (f.startswith(".") and f == f.lower()) for f in built.formats),
        f"{name}.formats must be lower case endings with a dot, or '/' for a folder, it is {built.formats}",
    )
    evidence = built.recognises(file)
    require(isinstance(evidence, str) and bool(evidence), f"{name}.recognises({file.name}) must give its evidence")
    require(bool(built.files(file)), f"{name}.files({file.name}) names no file")
    first, again = built.read(file), built.read(file)
    _check_reading(name, first)
    require(_same(first, again), f"{name}: two readings of {file.name} differ")
    with tempfile.TemporaryDirectory() as folder:
        for label, content in _FOREIGN.items():
            for suffix in built.formats:
                _check_foreign(built, name, Path(folder), label, suffix, content)
        missing = Path(folder) / f"missing{file.suffix}"
        require(_fails(built, missing), f"{name}: a missing file must be a RecordingError")
        for number, broken in enumerate(_damaged(built, file, Path(folder) / "damaged", damage, seed)):
            try:
                _check_reading(name, built.read(broken))
            except (RecordingError, ConfigError):
                pass
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(
                    f"{name}: damaged copy {number} of {file.name} raised {type(error).__name__}: {error}; "
                    "expected a RecordingError"
                ) from error
            built.recognises(broken)
    return first


def _check_foreign(built: Reader, name: str, folder: Path, label: str, suffix: str, content: bytes) -> None:
    path = folder / f"{label}{'' if suffix == '/' else suffix}"
    if suffix == "/":
        path.mkdir(exist_ok=True)
        (path / "notes.txt").write_bytes(content)
    else:
        path.write_bytes(content)
    require(built.recognises(path) is None, f"{name}.recognises must be None for a foreign file ({label}{suffix})")
    require(_fails(built, path), f"{name}: a foreign file ({label}{suffix}) must be a RecordingError")


def _fails(built: Reader, path: Path) -> bool:
    try:
        built.read(path)
    except RecordingError:
        return True
    except ConfigError as error:
        return "pip install" in (error.hint or "")  # without its extra a reader can tell nothing about a file
    except Exception as error:
        raise AssertionError(
            f"{type(built).__name__}: {path.name} raised {type(error).__name__}: {error}; expected a RecordingError"
        ) from error
    return False


def _check_reading(name: str, reading: Reading) -> None:
    for device in reading.devices:
        where = f"{name}, device {device.name!r}"
        require(device.name == device.name.lower() and bool(device.name), f"{where}: its name must be lower case")
        require(bool(device.tracks), f"{where}: no track")
        for kind, track in device.tracks.items():
            require(kind in TRACK_UNITS, f"{where}: unknown sensor {kind!r}, expected one of {sorted(TRACK_UNITS)}")
            require(track.unit in TRACK_UNITS[kind], f"{where}: unit of {kind} is {track.unit!r}")
            require(
                track.values.shape == (3, len(track.times)),
                f"{where}: {kind} has shape {track.values.shape}, expected (3, {len(track.times)})",
            )
            require(
                len(track.times) >= 2
                and bool(np.all(np.isfinite(track.times)))
                and bool(np.all(np.diff(track.times) > 0)),
                f"{where}: times of {kind} must be finite and increase strictly, and be at least two",
            )
            require(not np.isinf(track.values).any(), f"{where}: {kind} has infinite values; missing samples are NaN")
            require(bool(np.isfinite(track.values).any()), f"{where}: {kind} has no value")
        require(device.gravity in (True, False, None), f"{where}: gravity is {device.gravity!r}")
    for segment in reading.segments:
        require(segment.start < segment.end, f"{name}: segment {segment.label!r} ends before it starts")
    for key, value in reading.tags.items():
        require(isinstance(key, str) and isinstance(value, str), f"{name}: tag {key!r} must be text, is {value!r}")


def _same(a: Reading, b: Reading) -> bool:
    def plain(r: Reading) -> object:
        return (r.segments, dict(r.tags), r.notes, r.start_utc, [(d.name, d.gravity, dict(d.tags)) for d in r.devices])

    return plain(a) == plain(b) and all(
        x.tracks.keys() == y.tracks.keys()
        and all(
            t.unit == y.tracks[k].unit
            and np.array_equal(t.times, y.tracks[k].times)
            and np.array_equal(t.values, y.tracks[k].values, equal_nan=True)
            for k, t in x.tracks.items()
        )
        for x, y in zip(a.devices, b.devices, strict=True)
    )


def _damaged(built: Reader, file: Path, folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Copies cut short, with bytes changed, or with a part removed or repeated; of a folder, one file is damaged."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        root = folder / str(number)
        if file.is_dir():
            shutil.copytree(file, root / file.name)
            inside = sorted(p for p in (root / file.name).rglob("*") if p.is_file())
            target = inside[int(rng.integers(len(inside)))]
        else:
            root.mkdir(parents=True)
            for part in built.files(file):
                shutil.copy(part, root / part.name)
            target = root / file.name
        content = bytearray(target.read_bytes())
        at = int(rng.integers(max(len(content), 1)))
        size = int(rng.integers(1, 64))
        kind = number % 4
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content[at : at + size] = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        elif kind == 2:
            del content[at : at + size]
        else:
            content[at:at] = content[at : at + size] * 3
        target.write_bytes(bytes(content))
        yield root / file.name
