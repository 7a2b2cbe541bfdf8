"""The map to fewer columns of the encoder study: what it keeps, and that training windows centre it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.errors import ConfigError

FILE = Path(__file__).resolve().parents[2] / "studies" / "encoder" / "narrow.py"


@pytest.fixture(scope="module")
def narrow() -> ModuleType:
    spec = importlib.util.spec_from_file_location("studies_encoder_narrow", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(**options: object) -> tuple[EncoderBundle, torch.Tensor]:
    torch.manual_seed(0)
    network = {"name": "segment_cnn", "width": 8, "segments": 2}
    spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    bundle = EncoderBundle(spec=spec, encoder={"name": "hybrid", "network": network, **options}).eval()
    windows = torch.randn(64, 6, 100)
    bundle.fit(windows)
    return bundle, windows


@pytest.mark.parametrize("kind", ["principal", "random"])
def test_statistics_stay_and_the_network_becomes_narrow(narrow: ModuleType, kind: str) -> None:
    bundle, windows = made()
    small = narrow.narrowed(bundle, windows, 5, narrow.Map(kind))
    with torch.inference_mode():
        before, after = bundle(windows), small(windows)
    assert after.shape[1] == 5 + len(range(*bundle.parts["statistics"].indices(before.shape[1])))
    torch.testing.assert_close(after[:, 5:], before[:, bundle.parts["statistics"]])
    torch.testing.assert_close(after[:, :5].mean(0), torch.zeros(5), atol=1e-3, rtol=0)


def test_principal_columns_span_the_largest_singular_directions(narrow: ModuleType) -> None:
    bundle, windows = made()
    small = narrow.narrowed(bundle, windows, 3, narrow.Map.principal)
    with torch.inference_mode():
        wide = bundle(windows)[:, bundle.parts["network"]].double().numpy()
        found = small(windows)[:, :3].double().numpy()
    left, _, _ = np.linalg.svd(wide - wide.mean(0), full_matrices=False)
    for i in range(3):
        assert abs(np.corrcoef(found[:, i], left[:, i])[0, 1]) > 0.999


def test_a_narrow_hybrid_is_refused(narrow: ModuleType) -> None:
    bundle, windows = made(columns=4)
    with pytest.raises(ConfigError, match="without `columns`"):
        narrow.narrowed(bundle, windows, 2, narrow.Map.random)
