"""Load an encoder and encode windows.

`load_encoder` reads an exported encoder folder. `encode` accepts windows of any length and rate; missing samples are
NaN, and missing channels are left out. An encoder that was just created stands in for an exported one here.
"""

import numpy as np

import imu_video

print(imu_video.list_encoders("*cnn*"))

# An encoder folder as `imu-pretrain export` writes it, with random weights.
spec = imu_video.InputSpec(rate_hz=50, window_s=4, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
imu_video.EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 32}).save("encoders/mine")

encoder = imu_video.load_encoder("encoders/mine")
print(encoder.spec)

# Eight windows of 4 s at 104 Hz in m/s^2 and rad/s: at rest, gravity along z.
windows = np.random.default_rng(0).normal(0, 0.05, (8, 6, 416)).astype(np.float32)
windows[:, 2] += 9.81
features = encoder.encode(windows, rate_hz=104)
print(features.shape)
assert features.shape == (8, encoder.feature_dim)

# A device without a gyroscope: name the channels that exist.
accelerometer = encoder.encode(windows[:, :3], rate_hz=104, channels=["acc_x", "acc_y", "acc_z"])
assert np.isfinite(accelerometer).all()
