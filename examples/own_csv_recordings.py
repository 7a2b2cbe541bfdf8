"""Build a data folder from your own CSV recordings.

A `dataset.yaml` beside the files states which column is which channel, in which unit, and who wore the device.
`build` cuts the recordings into windows and writes shards; the columns are memory-mapped arrays.
"""

from pathlib import Path

import numpy as np

import imu_video
from imu_video.config import load_config
from imu_video.shards import BuildConfig

# Recordings of three subjects: accelerometer in g, gyroscope in deg/s, time in milliseconds.
root = Path("recordings")
root.mkdir(exist_ok=True)
rng = np.random.default_rng(0)
for subject in ("anna", "bert", "carl"):
    rows = rng.normal(0, 0.01, (1500, 6))
    rows[:, 2] += 1 + 0.3 * np.sin(np.arange(1500) / 5)
    lines = [f"{20 * i}," + ",".join(f"{value:.4f}" for value in row) for i, row in enumerate(rows)]
    (root / f"{subject}_walk.csv").write_text("ms,ax,ay,az,gx,gy,gz\n" + "\n".join(lines) + "\n")

(root / "dataset.yaml").write_text("""
dataset: my-study
licence: CC-BY-4.0
imu:
  time: {column: ms, unit: ms}
  channels: {acc_x: ax, acc_y: ay, acc_z: az, gyr_x: gx, gyr_y: gy, gyr_z: gz}
  units: {acc: g, gyr: deg/s}
placements: {right_wrist: }
files:
  imu: "{subject}_{recording}.csv"
""")

config = load_config(
    "configs/data/folder.yaml",
    BuildConfig,
    ["dataset.root=recordings", "splits={subjects: {train: [anna], val: [bert], test: [carl]}}"],
)
index = imu_video.build(config, "data/mine")
columns = imu_video.open_columns(index, "train")
print(columns.subjects[:2], columns.placements, columns.imu.shape)  # (N, V, C, T)
assert columns.imu.shape[1:] == (1, 6, 200)
assert abs(float(np.median(columns.imu[:, 0, 2])) - 9.81) < 0.5  # converted to m/s^2
