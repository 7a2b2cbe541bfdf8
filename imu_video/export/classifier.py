"""A fitted head as the last layers of an exported graph, and the accuracy of a probe before and after an export."""

from __future__ import annotations

from typing import Any

import numpy as np

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.head import Head
from imu_video.errors import ConfigError
from imu_video.export.graph import OUTPUT
from imu_video.export.packages import needed
from imu_video.types import JsonDict

PROBABILITIES = "probabilities"
"""Second output of a file with a head."""


def check_head(bundle: EncoderBundle, head: Head) -> None:
    """Check that a head was fitted on the features of this encoder.

    Raises:
        ConfigError: another encoder, or another number of features.
    """
    if head.spec.feature_dim != bundle.feature_dim or head.encoder != bundle.weights_sha256:
        raise ConfigError(
            f"the head was fitted on encoder {head.encoder[:12]} with {head.spec.feature_dim} features, this is "
            f"encoder {bundle.weights_sha256[:12] or 'without weights'} with {bundle.feature_dim}",
            hint="imu-eval fit-head ENCODER DATA --out HEAD",
        )


def with_head(source: Any, head: Head) -> Any:
    """A copy of a model with a second output: ``softmax((features @ weight + bias) / temperature)``.

    Args:
        source: ONNX model whose output is the features.
        head: weights in float64, stored as float32.
    """
    onnx = needed("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(source)
    scaled = {
        "head_weight": head.weight / head.spec.temperature,
        "head_bias": head.bias / head.spec.temperature,
    }
    graph = model.graph
    for name, value in scaled.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    made = onnx.helper.make_node
    graph.node.append(made("MatMul", [OUTPUT, "head_weight"], ["head_product"], "head_product"))
    graph.node.append(made("Add", ["head_product", "head_bias"], ["head_logits"], "head_sum"))
    graph.node.append(made("Softmax", ["head_logits"], [PROBABILITIES], "head_softmax", axis=-1))
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    shape = [batch or "batch", len(head.spec.classes)]
    graph.output.append(onnx.helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, shape))
    return model


def head_facts(head: Head) -> JsonDict:
    """What a user of the second output must know, as JSON."""
    return {"classes": list(head.spec.classes), "threshold": head.spec.threshold, "evidence": head.evidence}


def probe_accuracy(features: np.ndarray, labels: np.ndarray, subjects: np.ndarray, *, folds: int = 5) -> float | None:
    """Accuracy of a ridge classifier on subjects that it was not fitted on; None without labels of several subjects.

    Features are standardised on the training subjects of each fold; the ridge strength is N / 100.

    Args:
        features: (N, E).
        labels: (N,) names, empty for a window without a label.
        subjects: (N,) names.
        folds: number of groups of subjects, at most their number.

    Example:
        >>> names = np.array(["a", "b"] * 6)
        >>> probe_accuracy((names == "a")[:, None] * np.ones((12, 2)), names, np.repeat(["x", "y", "z"], 4))
        1.0
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = labels != ""
    features, labels, subjects = features[known], labels[known], subjects[known]
    groups = min(folds, len(np.unique(subjects)))
    if groups < 2 or len(np.unique(labels)) < 2:
        return None
    right = 0
    for train, test in GroupKFold(groups).split(features, labels, subjects):
        if len(np.unique(labels[train])) < 2:
            continue
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=float(len(train)) / 100))
        right += int((probe.fit(features[train], labels[train]).predict(features[test]) == labels[test]).sum())
    return right / len(labels)
