"""int8 files: only layers with trained weights, the rounding of weights, and features near those of the float file."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.export.folder import serialised
from imu_video.export.int8 import inner_layers, quantised
from imu_video.export.runtime import open_onnx
from tests.export.models import facts, network


def _windows(count: int) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(count, 6, 100)).astype(np.float32)
    x[:, 1, 20:60] = np.nan
    return x


@pytest.mark.parametrize("calibrated", [True, False])
def test_features_stay_and_weights_shrink(calibrated: bool) -> None:
    from onnx import TensorProto

    graph = network()
    before = graph.model.SerializeToString()
    x = _windows(32)
    model, scheme, layers = quantised(graph, x if calibrated else None)
    assert scheme == ("static" if calibrated else "weights")
    assert layers == ("first", "second")
    assert graph.model.SerializeToString() == before
    kept = [list(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) > 1]
    assert kept == [[8, 8]]  # the table: a constant, but no trained weight
    kinds = [node.op_type for node in model.graph.node]
    assert ("QuantizeLinear" in kinds) == calibrated
    ours, theirs = (
        open_onnx(serialised(m, facts(graph)), source="x").encode(x, rate_hz=50, check_units=False)
        for m in (graph.model, model)
    )
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(ours).max()


def test_the_layer_that_reads_the_window_is_no_inner_layer() -> None:
    assert inner_layers(network()) == ("second",)


def test_weights_are_rounded_per_output() -> None:
    """w ~ s round(w / s) with s = max |w| / 127 over the weights of one output: at most half a step of error."""
    from onnx import numpy_helper

    graph = network()
    model, _, _ = quantised(graph, None)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    original = {t.name: numpy_helper.to_array(t) for t in graph.model.graph.initializer}
    pairs = [tuple(tensors[i] for i in node.input) for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert len(pairs) == 2
    for name, (whole, scale) in zip(("weight_1", "weight_2"), pairs, strict=True):
        for row, step, stored in zip(original[name], scale, whole, strict=True):
            assert step == pytest.approx(np.abs(row).max() / 127)
            assert np.abs(stored * step - row).max() <= step / 2 + 1e-7
