"""Projection heads and the cross-modal model: the paper's block, unit norms, what trains and what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError
from imu_video.models.cross_modal import BatchHead, CrossModalModel, ProjectionHead, RandomHead
from imu_video.types import PairBatch, PairMeta

SPEC = InputSpec(rate_hz=50, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)


def model(**options: object) -> CrossModalModel:
    torch.manual_seed(0)
    student = EncoderBundle(spec=SPEC, encoder={"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 16})
    return CrossModalModel(student=student, teacher_dim=10, **{"dim": 12, **options})  # type: ignore[arg-type]


def batch(rows: int = 5, teacher: Tensor | None = None) -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    imu = torch.randn(rows, 6, 100, generator=generator)
    return PairBatch(
        imu=imu,
        mask=torch.ones_like(imu, dtype=torch.bool),
        teacher=torch.randn(rows, 10, generator=generator) if teacher is None else teacher,
        meta=PairMeta(**{k: torch.arange(rows) for k in ("sample", "recording", "time", "device", "subject")}),
    )


def test_projection_head_equals_its_equation() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(width=6, dim=4)
    z = torch.randn(3, 6)
    a = z @ head.first.weight.T + head.first.bias
    h = (0.5 * a * (1 + torch.erf(a / 2**0.5))) @ head.second.weight.T + head.second.bias
    expected = nn.functional.layer_norm(h + a, (4,))
    assert torch.allclose(head(z), expected, atol=1e-6)


def test_projection_head_of_the_paper_drops_out_in_training() -> None:
    head = ProjectionHead(width=768, dim=512, dropout=0.1)
    z = torch.ones(2, 768)
    assert not torch.equal(head(z), head(z))
    head.eval()
    assert torch.equal(head(z), head(z))
    assert head(z).shape == (2, 512)


def test_batch_head_equals_its_equation() -> None:
    torch.manual_seed(0)
    head = BatchHead(width=6, dim=4, hidden=5)
    z = torch.randn(3, 7, 6)
    a = z @ head.first.weight.T + head.first.bias
    mean, variance = a.mean((0, 1)), a.var((0, 1), unbiased=False)
    h = ((a - mean) / (variance + head.norm.eps).sqrt()).relu()
    assert torch.allclose(head(z), h @ head.second.weight.T + head.second.bias, atol=1e-5)
    with pytest.raises(ConfigError, match="batch head"):
        BatchHead(width=6, dim=0)


def test_random_head_equals_its_equation_and_is_not_trained() -> None:
    torch.manual_seed(0)
    head = RandomHead(width=6, dim=4, hidden=5).train()
    norm = torch.nn.BatchNorm1d(5).eval()  # the published layer, at its initial statistics
    z = torch.randn(3, 6)
    h = torch.nn.functional.gelu(norm(z @ head.first.weight.T + head.first.bias))
    assert torch.allclose(head(z), h @ head.second.weight.T + head.second.bias, atol=1e-6)
    assert not any(p.requires_grad for p in head.parameters())
    with pytest.raises(ConfigError, match="random head"):
        RandomHead(width=6, dim=4, hidden=0)


def test_the_kind_of_head_is_that_of_both_sides() -> None:
    m = model(head="batch")
    assert isinstance(m.imu_projector, BatchHead)
    assert isinstance(m.teacher.projector, BatchHead)
    assert isinstance(model().imu_projector, ProjectionHead)


def test_published_heads_have_the_published_sizes() -> None:
    comodo = model(head="batch_gelu", projector="random")
    assert isinstance(comodo.imu_projector, BatchHead)
    assert comodo.imu_projector.first.out_features == 2048
    assert comodo.imu_projector(torch.randn(4, comodo.imu_projector.first.in_features)).shape == (4, 12)
    assert isinstance(comodo.teacher.projector, RandomHead)
    cmc = model(head="batch", hidden=20)
    assert isinstance(cmc.imu_projector, BatchHead)
    assert cmc.imu_projector.first.out_features == 20
    tang = model(head="relu").imu_projector
    assert [len(p) for p in tang.parameters() if p.ndim == 2] == [256, 128, 12]
    z = torch.randn(4, tang[0].in_features)  # type: ignore[index]
    h = z
    for layer in (0, 2):
        h = (h @ tang[layer].weight.T + tang[layer].bias).clamp(min=0)  # type: ignore[index]
    assert torch.allclose(tang(z), h @ tang[4].weight.T + tang[4].bias, atol=1e-6)  # type: ignore[index]
    primus = model(head="linear", projector="none", dim=10).imu_projector
    assert isinstance(primus, torch.nn.Linear)
    with pytest.raises(ConfigError, match="this head has one hidden layer"):
        model(head="batch", hidden=(20, 10))
    with pytest.raises(ConfigError, match="head 'none' compares features as they are: the embedding width is 12"):
        model(head="none")


@pytest.mark.parametrize("projector", ["mlp", "linear"])
def test_embeddings_have_unit_norm_and_train_both_sides(projector: str) -> None:
    m = model(projector=projector)
    pair = m(batch())
    assert pair.imu.shape == pair.side.shape == (5, 12)
    assert torch.allclose(pair.imu.norm(dim=1), torch.ones(5), atol=1e-6)
    assert torch.allclose(pair.side.norm(dim=1), torch.ones(5), atol=1e-6)
    (pair.imu * pair.side.roll(1, 0)).sum().backward()
    assert all(p.grad is not None for p in m.parameters())


def test_without_a_projector_the_teacher_side_is_only_normalised() -> None:
    m = model(projector="none", dim=10)
    b = batch()
    pair = m(b)
    assert torch.allclose(pair.side, nn.functional.normalize(b.teacher, dim=1), atol=1e-6)
    assert not pair.side.requires_grad
    with pytest.raises(ConfigError, match="dim is 12, the teacher has 10"):
        model(projector="none")


def test_teacher_statistics_standardise_and_travel_with_the_state() -> None:
    features = np.random.default_rng(0).normal(5.0, 3.0, (200, 10)).astype(np.float32)
    features[:, 3] = 7.0  # never varies
    m = model(projector="none", dim=10, teacher_mean=features.mean(0), teacher_std=features.std(0))
    b = batch(200, torch.from_numpy(features))
    assert m(b).side.mean(0).abs().max() < 0.02
    fresh = model(projector="none", dim=10)
    assert fresh(b).side[:, 3].abs().min() > 0.1
    fresh.load_state_dict(m.state_dict())
    assert torch.equal(fresh(b).side, m(b).side)
    with pytest.raises(ConfigError, match="teacher_mean must be 10"):
        model(teacher_mean=np.zeros(9))
    with pytest.raises(ConfigError, match="teacher_std"):
        model(teacher_std=np.full(10, np.nan))


def test_norms_are_float32_under_autocast() -> None:
    m = model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pair = m(batch())
    assert pair.imu.dtype == pair.side.dtype == torch.float32
    assert torch.allclose(pair.imu.norm(dim=1), torch.ones(5), atol=1e-6)


def test_features_of_another_teacher_are_refused() -> None:
    with pytest.raises(ValueError, match="Dt=10"):
        model()(batch(teacher=torch.zeros(5, 9)))


@pytest.mark.parametrize("options", [{"dim": 0}, {"dropout": 1.0}])
def test_bad_arguments_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="projection head"):
        model(**options)
