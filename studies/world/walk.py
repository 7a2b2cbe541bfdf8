"""The walk with worn sensors and optical capture: virtual against real signals, on rigid mounts and on straps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

from imu_video.simulation.person import stream
from imu_video.simulation.randomise import StrapRanges
from imu_video.simulation.sensors import specific_force_and_rate
from imu_video.simulation.strap import Strap, loose_force_and_rate

SEGMENTS = {
    "Pelvis": ("PELV", "qRPV"),
    "L_UpLeg": ("LFEO", "qLTH"),
    "R_UpLeg": ("RFEO", "qRTH"),
    "L_LowLeg": ("LTIO", "qLSK"),
    "R_LowLeg": ("RTIO", "qRSK"),
    "L_Foot": ("LTOE", "qLFT"),
    "R_Foot": ("RTOE", "qRFT"),
}
"""Segment of the sensor -> joint and orientation of the capture."""
INNER, LAGS = slice(20, 935), 6


def yardstick(folder: Path, *, seed: int, draws: int) -> Iterator[str]:
    """Lines of a table: correlation of sizes at the best lag, rigid and on straps of the default ranges."""
    trial = next(iter(sorted(folder.rglob("vicon")))).parent
    capture = _columns(trial / "vicon" / "S02-Trial-Walk-1.csv")
    drawn = "straps: median [lowest, highest]"
    yield f"| sensor | low-pass | force, rigid | force, {drawn} | turning, rigid | turning, {drawn} |"
    yield "|---|---|---|---|---|---|"
    for hz in (8.0, 20.0):
        for segment, (joint, bone) in SEGMENTS.items():
            worn = _columns(trial / "imu" / f"S02-Trial-Walk-1-{segment}.csv")
            real = _low_pass(np.concatenate([_vectors(worn, "acc"), _vectors(worn, "gyr")]), hz)
            position = _low_pass(_vectors(capture, joint), hz)
            matrices = Rotation.from_quat(_vectors(capture, bone, 4).T[:, [1, 2, 3, 0]]).as_matrix()
            smooth = _low_pass(matrices.transpose(1, 2, 0), hz).transpose(2, 0, 1)
            rotation = Rotation.from_matrix(smooth).as_matrix().transpose(1, 2, 0)
            rigid = _agreement(specific_force_and_rate(position, rotation, 100.0), real, hz)
            loose = []
            for number in range(draws):
                strap = StrapRanges().draw("strap", stream(seed, segment, number))
                # Which side of the segment is outside is not known: the weight does not tip the device here.
                strap = Strap(hz=strap.hz, damping=strap.damping)
                out = np.array([1.0, 0.0, 0.0])
                loose.append(_agreement(loose_force_and_rate(position, rotation, out, strap, 100.0), real, hz))
            cells = []
            for k in range(2):
                drawn = [one[k] for one in loose]
                cells += [f"{rigid[k]:.3f}", f"{np.median(drawn):.3f} [{min(drawn):.3f}, {max(drawn):.3f}]"]
            yield f"| {segment} | {hz:g} Hz | {' | '.join(cells)} |"


def _agreement(virtual: tuple[np.ndarray, np.ndarray], real: np.ndarray, hz: float) -> tuple[float, float]:
    """Correlations of the sizes of force and turning at the best of the lags."""
    found = []
    for signal, worn in zip(virtual, (real[:3], real[3:]), strict=True):
        size, truth = np.linalg.norm(_low_pass(signal, hz), axis=0), np.linalg.norm(worn, axis=0)
        found.append(
            max(float(np.corrcoef(size[INNER], np.roll(truth, -k)[INNER])[0, 1]) for k in range(-LAGS, LAGS + 1))
        )
    return found[0], found[1]


def _low_pass(values: np.ndarray, hz: float) -> np.ndarray:
    return np.asarray(sosfiltfilt(butter(2, hz, fs=100, output="sos"), values, axis=-1))


def _columns(path: Path) -> Mapping[str, np.ndarray]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("//")]
    return dict(zip(lines[0].split(","), np.loadtxt(lines[1:], delimiter=",").T, strict=True))


def _vectors(table: Mapping[str, np.ndarray], name: str, count: int = 3) -> np.ndarray:
    return np.stack([table[f"{name}_{i + 1}"] for i in range(count)])
