"""The comparison finds a file that ignores masks, fixes a length or depends on other rows."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.errors import ParityError
from imu_video.export.parity import check_parity, made_windows, parity_windows
from tests.export.models import SPEC


@pytest.fixture(scope="module")
def bundle() -> EncoderBundle:
    return EncoderBundle(spec=SPEC, encoder={"name": "segment_cnn", "width": 8, "blocks": 2}).eval()


class Other(WindowEncoder):
    """The encoder itself, with a fault."""

    def __init__(self, bundle: EncoderBundle, fault: str) -> None:
        self.bundle, self.fault = bundle, fault
        self.spec, self.feature_dim = bundle.spec, bundle.feature_dim

    def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
        if self.fault == "mask" and there is not None:
            x, there = np.where(there, x, 0), np.ones_like(there)
        out = self.bundle._features(x, there)
        if self.fault == "length" and x.shape[2] != self.spec.samples:
            out = out * 1.1
        if self.fault == "nan":
            out = out + np.nan
        return out


def test_an_equal_file_passes(bundle: EncoderBundle) -> None:
    real = made_windows(bundle, 100, seed=3)
    found = check_parity(bundle, Other(bundle, ""), real, lengths=(100, 50, 201))
    assert found.difference == 0
    assert found.lengths == (50, 100, 201)


@pytest.mark.parametrize(("fault", "case"), [("mask", "gaps"), ("length", "50 samples"), ("nan", "100 samples")])
def test_a_fault_is_found_and_named(bundle: EncoderBundle, fault: str, case: str) -> None:
    with pytest.raises(ParityError, match=f"parity failed: .*{case}.*nothing was written"):
        check_parity(bundle, Other(bundle, fault), None, lengths=(100, 50))


def test_windows_have_every_kind_of_gap(bundle: EncoderBundle) -> None:
    cases = dict(parity_windows(bundle, None, lengths=(100,)))
    assert len(cases) == 6
    missing = [np.isnan(x).all(2).any() for x in cases.values()]
    assert any(missing)
    assert all(np.isfinite(x).any(axis=(1, 2)).all() for x in cases.values())


def test_rounding_of_a_constant_channel_is_a_jump() -> None:
    """A constant channel crosses its computed mean at the edges of gaps or not, as the mean is rounded."""
    encoder = {"name": "hybrid", "network": {"name": "segment_cnn", "width": 8, "blocks": 2}, "groups": ["time"]}
    bundle = EncoderBundle(spec=SPEC, encoder=encoder).eval()
    real = made_windows(bundle, 100, seed=3)
    real[:, 2] = np.linspace(9.7, 9.9, len(real))[:, None]
    real[:, 2, 40:60] = np.nan

    class Rounded(Other):
        def _features(self, x: np.ndarray, there: np.ndarray | None) -> np.ndarray:
            return super()._features(x * np.float32(1 + 3e-7), there)

    assert check_parity(bundle, Rounded(bundle, ""), real, lengths=()).jumps > 0
