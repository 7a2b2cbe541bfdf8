"""First result on your own recording, with an encoder that is shipped inside the package.

    python examples/first_embedding.py RECORDING.csv

The recording is a table with a column of times and three columns of acceleration (rotation rates too, if there are
any), or a file of a device or an app. Its units are taken from the file and printed with their evidence. Without an
argument, a small simulated recording is written and used. No training, no label and no network is needed.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

import imu_video
from imu_video.predict import open_windows


def simulate(path: Path) -> Path:
    """A device at 50 Hz that rests, walks and runs, 25 s each, and then rests again."""
    rng, rate_hz, rows = np.random.default_rng(0), 50, []
    for tempo_hz, size in ((0, 0), (1.8, 3), (2.8, 9), (0, 0)):
        time = np.arange(25 * rate_hz) / rate_hz
        swing = size * np.sin(2 * np.pi * tempo_hz * time)
        values = rng.normal(0, 0.1, (len(time), 6))
        values += np.stack([swing / 2, 0 * time, 9.81 + swing, 0 * time, swing / 4, 0 * time], axis=1)
        rows.append(values)
    values = np.concatenate(rows)
    lines = [f"{i / rate_hz:.2f}," + ",".join(f"{v:.4f}" for v in row) for i, row in enumerate(values)]
    head = ["time (s)", *(f"acc_{c} (m/s^2)" for c in "xyz"), *(f"gyr_{c} (rad/s)" for c in "xyz")]
    path.write_text(",".join(head) + "\n" + "\n".join(lines) + "\n")
    return path


simulated = len(sys.argv) < 2
path = simulate(Path("first_embedding.csv")) if simulated else Path(sys.argv[1])

encoder = imu_video.load_encoder("imu-video/small")  # imu_video.list_pretrained() lists the others
blocks = list(open_windows(path, encoder.spec))  # windows as the encoder needs them, at its rate
print(*blocks[0].notes, sep="\n")

features = np.concatenate([encoder.encode(b.x, rate_hz=b.rate_hz, channels=b.channels) for b in blocks])
start = np.concatenate([b.start for b in blocks])
start -= start.min()  # many recordings state seconds since 1970
devices = np.concatenate([b.facts["placement"] for b in blocks])
print(f"{len(features)} windows of {blocks[0].seconds:g} s, {encoder.feature_dim} features each")

# Features of one recording differ in scale: each is standardised, then windows are compared by their direction.
z = (features - features.mean(0)) / (features.std(0) + 1e-6)
z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-12
similarity = z @ z.T
np.fill_diagonal(similarity, -1)
nearest = similarity.argmax(1)

print("\nstart and device of each window, and start of the most similar one; seconds from the first window")
for i in range(len(features)):
    print(f"{start[i]:8.1f}  {devices[i]:12s}  {start[nearest[i]]:8.1f}  (similarity {similarity[i, nearest[i]]:.2f})")

groups = KMeans(min(3, len(z)), n_init=10, random_state=0).fit_predict(z)
order = list(dict.fromkeys(groups.tolist()))  # the first group is A
print(
    "\nmap of the recording, one letter (cluster of features) per window: "
    + "".join("ABC"[order.index(g)] for g in groups.tolist())
)

assert np.isfinite(features).all()
if simulated:  # windows of 25 s of one activity are each other's neighbours; rest comes first and last
    activity = np.array(["rest", "walk", "run", "rest"])[(start // 25).astype(int)]
    share = (activity == activity[nearest]).mean()
    print(f"nearest windows with the same simulated activity: {share:.0%}")
    assert share > 0.7
