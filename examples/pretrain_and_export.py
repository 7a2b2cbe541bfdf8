"""Pretrain a small encoder and export it.

The same steps as `imu-video embed`, `imu-pretrain launch` and `imu-pretrain export`. A run that is interrupted
resumes when it is started again with the same folder.
"""

from pathlib import Path

from _made_up import data_folder

import imu_video
from imu_video.config import load_config
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.run import run

index = data_folder("data/mine")
imu_video.embed(index, {"name": "tiny"})  # a real teacher: configs/teacher/efficientnet_lite0.yaml

config = load_config(
    "configs/pretrain/base.yaml",
    PretrainConfig,
    [
        "data.root=data/mine",
        "data.batch_size=32",
        "encoder={name: segment_cnn, width: 32}",
        "loss=[{name: info_nce}]",
        "optim.steps=30",
        "optim.lr=2e-3",
        "run.device=cpu",
    ],
)
outcome = run(config, folder=Path("runs/mine"))
print(outcome)

exported = export(Path("runs/mine"), Path("encoders/mine"))
print(f"step {exported.step}, largest difference of a feature after reloading: {exported.difference:g}")
encoder = imu_video.load_encoder("encoders/mine")
assert encoder.lineage["steps"] == 30
