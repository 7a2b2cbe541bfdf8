"""Several splits as one array, and statistics of features read in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.shards.batches.arrays import DeviceWindows, JoinedWindows, feature_statistics


def test_feature_statistics_in_pieces() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (10_000, 3)).astype(np.float16)
    rows = np.arange(0, 10_000, 2)
    mean, std = feature_statistics(features.__getitem__, rows)
    exact = features[rows].astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, exact.std(0), rtol=1e-6)


@pytest.mark.parametrize("devices", [[[0, 1, 2], [1]], [[2], [0, 1]], [[1, 0], []]])
def test_joined_windows_are_all_devices_of_all_samples(devices: list[list[int]]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(5, 3, 6, 4)), rng.normal(size=(7, 2, 6, 4))]
    joined = JoinedWindows([DeviceWindows(a, d) for a, d in zip(arrays, devices, strict=True)])
    expected = np.concatenate([a[:, d].reshape(-1, 6, 4) for a, d in zip(arrays, devices, strict=True)])
    assert joined.shape == expected.shape
    assert len(joined) == len(expected)
    for start in range(len(expected)):
        for stop in range(start + 1, len(expected) + 1):
            np.testing.assert_array_equal(joined[start:stop], expected[start:stop])
