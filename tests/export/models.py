"""A small ONNX network made by hand, so that tests of files need no exporter; the exporter has its own tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from imu_video.bundle.input_spec import InputSpec
from imu_video.export.graph import Graph

SPEC = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(1,) * 6)


def network(*, samples: int | None = None, least: int = 1, seed: int = 0) -> Graph:
    """Two convolutions, the mean over time and a product with a constant: (B, 6, T) -> (B, 8)."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(seed)
    made = {
        "weight_1": draw.normal(size=(16, 6, 3)) / 4,
        "weight_2": draw.normal(size=(8, 16, 3)) / 6,
        "table": np.eye(8),
        "zero": np.zeros(()),
        "infinity": np.full((), np.inf),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in made.items()]
    nodes = [
        helper.make_node("Abs", ["imu"], ["size"]),
        helper.make_node("Less", ["size", "infinity"], ["there"]),
        helper.make_node("Where", ["there", "imu", "zero"], ["known"]),
        helper.make_node("Conv", ["known", "weight_1"], ["h1"], name="first", pads=[1, 1]),
        helper.make_node("Relu", ["h1"], ["a1"]),
        helper.make_node("Conv", ["a1", "weight_2"], ["h2"], name="second", pads=[1, 1]),
        helper.make_node("ReduceMean", ["h2"], ["mean"], keepdims=0, axes=[2]),
        helper.make_node("MatMul", ["mean", "table"], ["features"], name="product"),
    ]
    length = "samples" if samples is None else samples
    graph = helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info("imu", TensorProto.FLOAT, ["batch", 6, length])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 8])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return Graph(model=model, samples=samples, least=least, layers=("first", "second"))


def facts(graph: Graph, **other: Any) -> dict[str, Any]:
    """Metadata of such a file."""
    return {
        "format": "imu-video-onnx",
        "format_version": 1,
        "encoder": {"name": "segment_cnn", "width": 8},
        "input": SPEC.model_dump(mode="json"),
        "feature_dim": 8,
        "precision": "float32",
        "samples": graph.samples,
        "least": graph.least,
        "lineage": {"untrained": {"seed": 0}},
        **other,
    }
