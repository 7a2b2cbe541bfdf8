"""The alignment with texts against its slow twin; sentences, shared positives, windows without a text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ConfigError
from imu_video.losses.functional import shared_text_nce
from imu_video.objectives import TextAlignment
from imu_video.runtime.distributed import GlobalDraws
from imu_video.teachers.sentences import Phrasing, TextTable, embed_texts, fingerprint_of
from imu_video.types import PairBatch, PairMeta
from tests.reference import naive_losses as naive

W = 7
NUMBERS = [0, 2, 0, -1, 1, 2]


def draw(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def draws() -> GlobalDraws:
    return GlobalDraws(torch.Generator().manual_seed(3))


def student() -> EncoderBundle:
    torch.manual_seed(0)
    spec = InputSpec(rate_hz=25, window_s=2, mean=(0.0,) * 6, std=(1.0,) * 6)
    return EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})


def objective(table: TextTable, **arguments: Any) -> TextAlignment:
    made = TextAlignment(text_dim=W, **arguments)
    made.attach(student())
    made.adopt_texts(table, table)
    return made


def table(*, each: int = 1) -> TextTable:
    return TextTable(names=("a", "b", "c"), embedded=draw(3 * each, W, seed=1), counts=torch.full((3,), each))


@pytest.mark.parametrize("against", ["batch", "vocabulary"])
@pytest.mark.parametrize("similar", [None, 0.5])
def test_twin(against: str, similar: float | None) -> None:
    made = objective(table(), against=against, similar=similar, temperature=0.3)
    z = draw(6, W, seed=2).requires_grad_()
    out = made._loss(z, torch.tensor(NUMBERS), draws())
    rows = draw(3, W, seed=1)
    texts = normalize(rows - rows.mean(0), dim=-1)
    likeness = torch.eye(3, dtype=torch.float64) if similar is None else ((texts @ texts.T - 1) / similar).exp()
    twin = naive.shared_text_nce(z, texts, NUMBERS, likeness, 1 / 0.3, both=against == "batch")
    assert out.total.item() == pytest.approx(twin.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(total, z, retain_graph=True)[0] for total in (out.total, twin))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert ours[3].abs().max() == 0
    assert out.stats["with_text"] == pytest.approx(5 / 6)


def test_equal_texts_are_no_negatives() -> None:
    """Two windows of one text at its sentence: no loss is left, however close they are to each other."""
    logits = torch.tensor([[9.0, 9.0, -90.0], [9.0, 9.0, -90.0]])
    alike = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    values = shared_text_nce(logits, alike, torch.ones(3, dtype=torch.bool))
    assert values.tolist() == pytest.approx([0.6931472] * 2)
    values = shared_text_nce(logits, torch.zeros(2, 3), torch.zeros(3, dtype=torch.bool))
    assert values.tolist() == [0.0, 0.0]


def test_a_batch_without_texts_trains_nothing_and_stays_finite() -> None:
    made = objective(table())
    imu = torch.randn(4, 6, 50, generator=torch.Generator().manual_seed(0))
    meta = PairMeta(
        **{k: torch.arange(4) for k in ("sample", "recording", "device", "subject")}, time=torch.arange(4.0)
    )
    batch = PairBatch(imu=imu, mask=torch.ones_like(imu, dtype=torch.bool), meta=meta, text=torch.full((4,), -1))
    encoder = student()
    out = made(encoder, batch, draws())
    out.total.backward()
    assert out.total == 0
    # Every parameter has a gradient: several processes would otherwise wait for it.
    assert all(p.grad is not None and not p.grad.any() for p in made.parameters())
    with pytest.raises(ConfigError, match="needs batches with texts"):
        made(encoder, PairBatch(imu=imu, mask=batch.mask, meta=meta), draws())


def test_each_step_draws_one_sentence_of_every_text() -> None:
    made = objective(table(each=2), centre=False)
    found = {tuple(made._drawn(GlobalDraws(torch.Generator().manual_seed(s)))[0].tolist()) for s in range(20)}
    assert found == {tuple(row) for row in made.sentences[:2].tolist()}


def test_the_state_is_restored_without_data() -> None:
    made = objective(table(each=2))
    empty = TextAlignment(text_dim=W)
    empty.attach(student())
    empty.load_state_dict(made.state_dict())
    assert torch.equal(empty.sentences, made.sentences)
    assert torch.equal(empty.counts, made.counts)


def test_a_scale_beyond_the_limit_is_reset() -> None:
    made = objective(table())
    made.scale.log.data.fill_(9.0)
    made.observe()
    assert made.scale().item() == pytest.approx(100, rel=1e-4)


def test_sentences_are_embedded_once() -> None:
    asked: list[str] = []

    class Counting:
        def encode(self, texts: list[str]) -> Tensor:
            asked.extend(texts)
            return torch.stack([draw(W, seed=len(text)).float() for text in texts])

    phrasing = Phrasing(templates=("{label}", "a {label}"), words={"walk": ("walking",)})
    texts = {name: phrasing.sentences(phrasing.name_of(name)) for name in ("walk", "rest_day")}
    found = embed_texts(Counting(), {**texts, "again": ["walking"]})
    assert sorted(asked) == ["a rest day", "a walking", "rest day", "walking"]
    assert found.counts.tolist() == [2, 2, 1]
    assert torch.equal(found.embedded[0], found.embedded[4])
    assert fingerprint_of(Counting()) == fingerprint_of(Counting())
    with pytest.raises(ConfigError, match="templates must contain"):
        Phrasing(templates=("walking",))
