"""Few-shot evaluation of an encoder on your own data folder.

`imu-eval fewshot` draws episodes with disjoint support and query subjects, fits probes on the support, and appends
result lines with confidence intervals over subjects. Untrained and hand-crafted references are evaluated on the same
episodes.
"""

import subprocess
import sys
from pathlib import Path

from _made_up import data_folder

import imu_video
from imu_video.bundle.input_spec import fit_input_spec
from imu_video.shards import open_columns

# An encoder with random weights stands in for an exported one.
index = data_folder("data/mine")
imu = open_columns(index, "train").select("right_wrist")
spec = fit_input_spec(imu, rate_hz=index.rate_hz, window_s=index.window_s)
imu_video.EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 16}).save("encoders/mine")

command = [
    "imu-eval", "fewshot", "encoders/mine", "data/mine", "--split", "test", "--shots", "1", "--shots", "4",
    "--probe", "ridge", "--episodes", "20", "--out", "results.jsonl",
]  # fmt: skip
subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], check=True)
assert Path("results.jsonl").read_text().count("\n") > 0
