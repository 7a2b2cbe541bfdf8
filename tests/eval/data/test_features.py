"""Hand-crafted features against numpy on single windows, with gaps, and on signals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from eval.data.features import handcrafted_features, handcrafted_names
from imu_video.types import IMU_CHANNELS


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, handcrafted_names().index(name)]


def noise(n: int = 5, t: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 6, t)) + np.arange(6)[:, None]


def test_names_match_the_columns_and_are_unique() -> None:
    f = handcrafted_features(noise(), rate_hz=50.0)
    assert f.shape == (5, len(handcrafted_names()))
    assert len(set(handcrafted_names())) == len(handcrafted_names())
    assert np.isfinite(f).all()
    assert (f.std(axis=0) > 0).mean() > 0.95, "features vary with the window"


def test_time_statistics_equal_numpy_with_and_without_gaps() -> None:
    x = noise()
    x[1, 2, 10:40] = np.nan
    f = handcrafted_features(x, rate_hz=50.0)
    for i in (0, 1):
        s = x[i, 2][np.isfinite(x[i, 2])]
        assert column(f, "acc_z.mean")[i] == pytest.approx(s.mean(), rel=1e-5)
        assert column(f, "acc_z.std")[i] == pytest.approx(s.std(), rel=1e-5)
        assert column(f, "acc_z.q25")[i] == pytest.approx(np.quantile(s, 0.25), rel=1e-5)
        assert column(f, "acc_z.q95")[i] == pytest.approx(np.quantile(s, 0.95), rel=1e-5)
        assert column(f, "acc_z.mad")[i] == pytest.approx(np.abs(s - np.median(s)).mean(), rel=1e-5)
    norm = np.linalg.norm(x[0, :3], axis=0)
    assert column(f, "acc_norm.mean")[0] == pytest.approx(norm.mean(), rel=1e-5)
    assert column(f, "corr.acc_x.acc_y")[0] == pytest.approx(np.corrcoef(x[0, 0], x[0, 1])[0, 1], abs=1e-5)


def test_the_features_of_six_channels_keep_their_names_and_order() -> None:
    names = handcrafted_names()
    assert len(names) == 193
    assert [n.split(".")[0] for n in names[:184:23]] == [*IMU_CHANNELS, "acc_norm", "gyr_norm"]
    assert names[184:] == (
        "acc.sma",
        "gyr.sma",
        *(f"corr.{s}_{a}.{s}_{b}" for s in ("acc", "gyr") for a, b in ("xy", "xz", "yz")),
        "corr.acc_norm.gyr_norm",
    )


def test_other_channels_have_the_features_of_their_signals() -> None:
    channels = ("emg_1", *(f"leg.{c}" for c in IMU_CHANNELS), "arm.mag_x")
    x = noise()
    mixed = np.concatenate([x[:, :1] * 2, x, x[:, 1:2]], axis=1)
    f, names = handcrafted_features(mixed, rate_hz=50.0, channels=channels), handcrafted_names(channels)
    assert f.shape == (5, len(names))
    assert np.isfinite(f).all()
    alone = handcrafted_features(x, rate_hz=50.0)
    for i, name in enumerate(handcrafted_names()):
        own = name.replace("acc", "leg.acc").replace("gyr", "leg.gyr")
        assert np.array_equal(f[:, names.index(own)], alone[:, i]), own
    assert f[:, names.index("emg_1.mean")] == pytest.approx(2 * x[:, 0].mean(axis=1), rel=1e-5)
    single = handcrafted_features(x[:, :1], rate_hz=50.0, channels=["emg_1"])
    assert np.array_equal(single, alone[:, :23])
    with pytest.raises(ValueError, match=r"\(N, 8, T\)"):
        handcrafted_features(x, rate_hz=50.0, channels=channels)


def test_a_tone_is_found_at_its_frequency() -> None:
    t = np.arange(250) / 50
    x = np.zeros((1, 6, 250))
    x[0, 0] = 3 * np.sin(2 * np.pi * 2.0 * t) + 9.81
    f = handcrafted_features(x, rate_hz=50.0)
    assert column(f, "acc_x.dominant_frequency")[0] == pytest.approx(2.0, abs=0.21)
    assert column(f, "acc_x.crossings")[0] == pytest.approx(4.0, abs=0.5)
    assert column(f, "acc_x.periodicity")[0] > 0.7
    bands = [n for n in handcrafted_names() if n.startswith("acc_x.band")]
    assert max(bands, key=lambda n: column(f, n)[0]) == "acc_x.band_1.5_2.5"
    assert column(f, "acc_x.spectral_entropy")[0] < 0.35


def test_rotation_leaves_the_magnitudes() -> None:
    x = noise()
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = np.concatenate([np.einsum("ij,njt->nit", q, x[:, i : i + 3]) for i in (0, 3)], axis=1)
    a, b = handcrafted_features(x, rate_hz=50.0), handcrafted_features(turned, rate_hz=50.0)
    invariant = [i for i, n in enumerate(handcrafted_names()) if "_norm." in n]
    assert np.allclose(a[:, invariant], b[:, invariant], atol=1e-3)
    assert not np.allclose(a, b, atol=1e-1)


def test_missing_channels_are_zero_and_leave_the_others() -> None:
    x = noise()
    whole = handcrafted_features(x, rate_hz=50.0)
    x[:, 3:] = np.nan
    f = handcrafted_features(x, rate_hz=50.0)
    for i, name in enumerate(handcrafted_names()):
        if "gyr" in name:
            assert np.all(f[:, i] == 0), name
        else:
            assert np.allclose(f[:, i], whole[:, i]), name


def test_chunks_do_not_matter_and_shapes_are_checked() -> None:
    x = noise(n=7)
    assert np.array_equal(handcrafted_features(x, rate_hz=50.0), handcrafted_features(x, rate_hz=50.0, chunk=2))
    assert handcrafted_features(x[:0], rate_hz=50.0).shape[0] == 0
    with pytest.raises(ValueError, match=r"\(N, 6, T\)"):
        handcrafted_features(np.zeros((2, 100, 6)), rate_hz=50.0)
