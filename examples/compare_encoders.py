"""Compare two encoders on the same episodes.

An episode depends on the seed, the domain and its number only, so every encoder is evaluated on the same support and
query windows. The difference of two encoders is computed per subject and episode before it is averaged.
"""

import numpy as np
from _made_up import data_folder

import imu_video
from eval.probes.ridge import RidgeProbe
from imu_video.bundle.input_spec import fit_input_spec
from imu_video.shards import open_columns

index = data_folder("data/mine", subjects=6)
train, test = open_columns(index, "train"), open_columns(index, "test")
spec = fit_input_spec(train.select("right_wrist"), rate_hz=index.rate_hz, window_s=index.window_s)
classes = sorted(set(test.labels))
labels = np.array([classes.index(label) for label in test.labels])
subjects = np.array(test.subject_id)

features = {}
for name in ("segment_cnn", "resnet1d"):
    encoder = imu_video.EncoderBundle(spec=spec, encoder={"name": name, "width": 16}).eval()
    features[name] = encoder.encode(np.array(test.select("right_wrist")), rate_hz=index.rate_hz)

accuracy = {name: [] for name in features}
rng = np.random.default_rng(0)
for _ in range(20):
    support_subject = rng.choice(np.unique(subjects))
    support = np.concatenate(
        [
            rng.choice(np.flatnonzero((labels == c) & (subjects == support_subject)), 2, replace=False)
            for c in range(len(classes))
        ]
    )
    for name, x in features.items():
        probe = RidgeProbe().fit(x[support], labels[support], classes=len(classes))
        right = probe.scores(x).argmax(axis=1) == labels
        accuracy[name].append([right[subjects == s].mean() for s in np.unique(subjects) if s != support_subject])

difference = np.mean(accuracy["segment_cnn"], axis=1) - np.mean(accuracy["resnet1d"], axis=1)
for name, values in accuracy.items():
    print(f"{name}: accuracy {np.mean(values):.3f}")
print(f"difference {difference.mean():+.3f}, standard deviation over episodes {difference.std(ddof=1):.3f}")
assert all(np.mean(values) > 1 / len(classes) for values in accuracy.values())
