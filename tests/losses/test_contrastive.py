"""Loss modules: values at the start, learned scale and bias, logging, the mix, and that they align two views."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.config import read_yaml
from imu_video.errors import ConfigError
from imu_video.losses import InfoNCE, LossMix, PairLoss, SigmoidPair
from imu_video.testing import check_loss
from imu_video.types import PairEmbeddings

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "loss").glob("*.yaml"))


def pair(n: int = 8, d: int = 16, seed: int = 0) -> PairEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    imu, video = (nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1) for _ in range(2))
    return PairEmbeddings(imu=imu, sides={"video": video})


def test_sigmoid_pair_at_the_start() -> None:
    """Orthogonal embeddings: s = -10 everywhere, the diagonal costs log(1 + e^10), the rest log(1 + e^-10)."""
    eye = torch.eye(16)
    loss = SigmoidPair()(PairEmbeddings(imu=eye[:8], sides={"video": eye[8:]})).total.item()
    assert loss == pytest.approx(math.log1p(math.exp(10)) + 7 * math.log1p(math.exp(-10)), rel=1e-6)
    aligned = SigmoidPair()(PairEmbeddings(imu=eye[:8], sides={"video": eye[:8]})).total.item()
    assert aligned == pytest.approx(math.log(2) + 7 * math.log1p(math.exp(-10)), rel=1e-6)


def test_info_nce_at_the_start() -> None:
    loss = InfoNCE()
    assert loss.scale().item() == pytest.approx(1 / 0.07)
    same = torch.ones(8, 4) / 2
    assert loss(PairEmbeddings(imu=same, sides={"video": same})).total.item() == pytest.approx(math.log(8), rel=1e-6)


@pytest.mark.parametrize("loss", [InfoNCE(), SigmoidPair()], ids=["info_nce", "sigmoid_pair"])
def test_learned_scalars_have_no_axes(loss: PairLoss) -> None:
    """Parameters with ndim < 2 get no weight decay."""
    parameters = dict(loss.named_parameters())
    assert parameters
    assert all(p.ndim == 0 for p in parameters.values())


def test_fixed_scales_are_state_but_not_trained() -> None:
    for loss in (InfoNCE(learned=False), SigmoidPair(learned=False)):
        assert not list(loss.parameters())
        assert "scale.log" in loss.state_dict()


@pytest.mark.parametrize("loss", [InfoNCE(temperature=0.01), SigmoidPair(initial_scale=100.0)], ids=["nce", "sigmoid"])
def test_the_scale_stops_at_100_and_can_come_back(loss: InfoNCE | SigmoidPair) -> None:
    optimiser = torch.optim.SGD(loss.parameters(), lr=5.0)
    eye = torch.eye(8)
    half = nn.functional.normalize(eye + 0.5 * eye.roll(1, 0), dim=1)
    easy, wrong = (
        PairEmbeddings(imu=half, sides={"video": half}),
        PairEmbeddings(imu=half, sides={"video": half.roll(1, 0)}),
    )
    with torch.no_grad():
        loss.scale.log += 1.0  # as a step beyond the limit would leave it
    assert loss.scale().item() == pytest.approx(100)
    loss.observe(easy)
    assert loss.scale().item() == pytest.approx(100)
    loss(wrong).total.backward()  # confident and wrong: the scale wants down
    optimiser.step()
    assert loss.scale().item() < 99


def test_stats_name_what_happened() -> None:
    eye = torch.eye(4)
    out = InfoNCE()(PairEmbeddings(imu=eye, sides={"video": eye}))
    stats = {k: v.item() for k, v in out.stats.items()}
    assert stats == pytest.approx({"accuracy": 1.0, "positive": 1.0, "negative": 0.0, "scale": 1 / 0.07})
    swapped = SigmoidPair()(PairEmbeddings(imu=eye, sides={"video": eye[[1, 0, 2, 3]]}))
    assert swapped.stats["accuracy"].item() == 0.5
    assert swapped.stats["positive"].item() == 0.5
    assert swapped.stats["negative"].item() == pytest.approx(2 / 12)
    assert swapped.stats["bias"].item() == -10


def test_half_precision_embeddings_are_computed_in_float32() -> None:
    p = pair()
    low = PairEmbeddings(imu=p.imu.bfloat16(), sides={"video": p.side.bfloat16()})
    same = PairEmbeddings(imu=low.imu.float(), sides={"video": low.side.float()})
    for loss in (InfoNCE(), SigmoidPair()):
        assert loss(low).total.dtype == torch.float32
        assert torch.equal(loss(low).total, loss(same).total)


def test_mix_weighs_and_names_its_terms() -> None:
    p = pair()
    mix = LossMix.build([{"name": "info_nce", "weight": 0.5}, "sigmoid_pair", {"name": "info_nce", "temperature": 1.0}])
    out = mix(p)
    parts = [InfoNCE()(p).total, SigmoidPair()(p).total, InfoNCE(temperature=1.0)(p).total]
    assert list(out.terms) == ["info_nce", "sigmoid_pair", "info_nce_2"]
    assert [t.item() for t in out.terms.values()] == pytest.approx([t.item() for t in parts])
    assert out.total.item() == pytest.approx((0.5 * parts[0] + parts[1] + parts[2]).item())
    assert {"info_nce/accuracy", "sigmoid_pair/bias", "info_nce_2/scale"} <= set(out.stats)
    assert len(list(mix.parameters())) == 4


def test_mix_passes_observe_on() -> None:
    mix = LossMix.build(["info_nce"])
    scale = mix.losses["info_nce"].scale
    with torch.no_grad():
        scale.log += 10.0
    mix.observe(pair())
    assert scale.log.item() == pytest.approx(math.log(100))


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"name": "info_nce", "weight": 0}],
        [{"name": "info_nce", "weight": -1.0}],
        [{"name": "info_nce", "weight": math.nan}],
        [{"name": "info_nce", "weight": "much"}],
        [{"name": "info_nse"}],
        [{"name": "info_nce", "temperature": 0.001}],
        [{"name": "sigmoid_pair", "initial_scale": 0}],
        [{"name": "sigmoid_pair", "initial_bias": math.inf}],
    ],
    ids=str,
)
def test_bad_mixes_are_refused(entries: list[dict[str, object]]) -> None:
    with pytest.raises(ConfigError):
        LossMix.build(entries)


def test_unequal_sides_are_refused() -> None:
    p = pair()
    with pytest.raises(ValueError, match=r"\(B, D\)"):
        InfoNCE()(PairEmbeddings(imu=p.imu, sides={"video": p.side[:-1]}))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_holds_the_contract(path: Path) -> None:
    check_loss(read_yaml(path))


@pytest.mark.parametrize("name", ["info_nce", pytest.param("sigmoid_pair", marks=pytest.mark.slow)])
@pytest.mark.parametrize("matched", [True, False], ids=["matched", "shuffled"])
def test_toy_alignment(name: str, matched: bool) -> None:
    """A4: two noisy views of one latent are aligned, R@1 in a gallery of 64 above 0.7; shuffled pairs are not."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(320, 8, generator=generator)
    mixing = [torch.randn(8, 24, generator=generator) for _ in range(2)]
    z, v = (torch.tanh(latent @ m) + 0.05 * torch.randn(320, 24, generator=generator) for m in mixing)
    if not matched:
        v[:256] = v[:256][torch.randperm(256, generator=generator)]
    torch.manual_seed(0)
    towers = nn.ModuleList(nn.Sequential(nn.Linear(24, 64), nn.GELU(), nn.Linear(64, 16)) for _ in range(2))
    loss = registry.losses.build(name)
    optimiser = torch.optim.Adam([*towers.parameters(), *loss.parameters()], lr=3e-3)

    def embed(rows: Tensor | slice) -> PairEmbeddings:
        imu, video = (nn.functional.normalize(t(x[rows]), dim=1) for t, x in zip(towers, (z, v), strict=True))
        return PairEmbeddings(imu=imu, sides={"video": video})

    for _ in range(300):
        rows = torch.randperm(256, generator=generator)[:128]
        optimiser.zero_grad()
        pair = embed(rows)
        loss(pair).total.backward()
        optimiser.step()
        loss.observe(pair)
    held_out = embed(slice(256, 320))
    recall = (held_out.imu @ held_out.side.T).argmax(1).eq(torch.arange(64)).float().mean().item()
    assert recall > 0.7 if matched else recall < 0.1
