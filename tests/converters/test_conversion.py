"""The conversion itself: every tensor accounted for, what the folder and its card state, and converters of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imu_video import registry
from imu_video.bundle import InputSpec, load_encoder, read_config
from imu_video.bundle.encoder import EncoderBundle
from imu_video.converters import Checkpoint, Converter, Plan, convert
from imu_video.errors import CheckpointError, ConfigError, ParityError
from tests.converters.conftest import write
from tests.converters.naive import State, harnet_state, mw2_state

LAYER = "module.feature_extractor.layer"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.pop(f"{LAYER}1.1.bn1.weight"), "1 tensors are missing: module.*layer1.1.bn1.weight"),
        (lambda s: s.pop(f"{LAYER}1.0.weight"), "no tensor 'module.*layer1.0.weight'; it contains"),
        (lambda s: s.pop(f"{LAYER}5.3.kernel"), "nearest is harnet10: no tensor module.*layer5.3.kernel"),
        (lambda s: s.update({f"{LAYER}6.0.weight": np.ones(2)}), "1 tensors are unexpected: module.*layer6.0.weight"),
        (
            lambda s: s.update({f"{LAYER}2.0.weight": np.ones((8, 8, 7), np.float32)}),
            r"\(8, 8, 7\), expected \(8, 4, 5\)",
        ),
        (lambda s: s[f"{LAYER}2.0.weight"].fill(np.nan), "layer2.0.weight has values that are not finite"),
        (lambda s: s[f"{LAYER}4.5.kernel"].fill(1), "nearest is harnet10: .*layer4.5.kernel has other values"),
        (lambda s: s.update({f"{LAYER}1.0.weight": np.ones((4, 6, 5), np.float32)}), "takes 6 channels, expected 3"),
        (lambda s: s.update({f"{LAYER}1.0.weight": np.ones((4, 3), np.float32)}), "expected 3 axes"),
        (lambda s: s.update({f"{LAYER}3.0.weight": s[f"{LAYER}3.0.weight"].astype(int)}), "torch.int64, expected"),
    ],
)
def test_every_tensor_is_accounted_for(edit: Callable[[State], object], words: str, tmp_path: Path) -> None:
    state = harnet_state(10, divide=16)
    edit(state)
    path = write(tmp_path / "a.mdl", state)
    with pytest.raises(CheckpointError, match=words) as error:
        convert("harnet", path, tmp_path / "out")
    assert str(path) in error.value.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mdl"], "nothing is written"


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("harnet", mw2_state("net.", hidden=8), "no tensor 'feature_extractor.layer1.0.weight'"),
        ("imu2clip", harnet_state(5, divide=16), "no tensor 'net.1.net.0.weight'"),
        ("imu2clip", mw2_state("backbone.", hidden=8, heads=""), "no tensor 'net.1.net.0.weight'"),
        ("primus", mw2_state("net.", hidden=8), "no head mmcl_head"),
        ("primus", mw2_state("backbone.", hidden=8), "2 tensors are missing: mmcl_head.bias, mmcl_head.weight"),
        ("patch_tst_hf", mw2_state("net.", hidden=8), "expected the folder that save_pretrained writes"),
    ],
)
def test_a_checkpoint_of_another_network(kind: str, state: State, words: str, tmp_path: Path) -> None:
    entry = {"name": kind, **({"rate_hz": 50} if kind == "patch_tst_hf" else {})}
    with pytest.raises(CheckpointError, match=words):
        convert(entry, write(tmp_path / "a.pt", state), tmp_path / "out")


def test_six_channels_are_needed(tmp_path: Path) -> None:
    state = mw2_state("net.", hidden=8)
    state["net.1.net.0.weight"] = np.ones((32, 3, 10), np.float32)
    with pytest.raises(CheckpointError, match="takes 3 channels, expected 6: acc_x"):
        convert("imu2clip", write(tmp_path / "a.pt", state), tmp_path / "out")


def test_what_the_folder_states(tmp_path: Path) -> None:
    """Source, hash, licence and whether the weights may be passed on, in config.json and on the card."""
    path = write(tmp_path / "mtl_best.mdl", harnet_state(5, divide=16))
    done = convert("harnet", path, tmp_path / "out")
    facts = read_config(tmp_path / "out")["lineage"]
    assert facts["converted"]["file"] == "mtl_best.mdl"
    assert len(facts["converted"]["sha256"]) == 64
    assert set(facts["converted"]["dropped"]) == {
        "head of a training task",
        "smoothing filter, equal to that of the encoder",
    }
    assert len(done.dropped) == 13
    card = (tmp_path / "out" / "README.md").read_text()
    for words in ("arXiv 2206.02909", "Academic Use Licence", "only for academic research", "30 Hz", "windows of 5 s"):
        assert words in card
    convert("harnet", path, tmp_path / "out", licence="own weights: CC0", force=True)
    licences = read_config(tmp_path / "out")["lineage"]["licences"]
    assert licences == {"weights": "own weights: CC0", "redistribution": "see the licence of the weights"}


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    state = {name: value.astype(np.float16) for name, value in mw2_state("net.", hidden=8).items()}
    convert("imu2clip", write(tmp_path / "a.pt", state), tmp_path / "out")
    weight = load_encoder(tmp_path / "out").encoder.layers[1].weight.detach().numpy()
    np.testing.assert_array_equal(weight, state["net.1.net.0.weight"].astype(np.float32))


def test_an_encoder_is_replaced_with_force_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", mw2_state("net.", hidden=8))
    convert("imu2clip", path, tmp_path / "out")
    with pytest.raises(CheckpointError, match="already contains an encoder"):
        convert("imu2clip", path, tmp_path / "out")
    convert({"name": "imu2clip", "rate_hz": 100}, path, tmp_path / "out", force=True)
    assert load_encoder(tmp_path / "out").spec.rate_hz == 100
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not an encoder folder"):
        convert("imu2clip", path, tmp_path / "notes", force=True)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> type[Converter]:
    """A converter as a plugin registers it: the network of IMU2CLIP under other names."""

    class Theirs(Converter):
        """Weights of a colleague."""

        origin, licence, redistribution = "a colleague", "CC0", "yes"
        encoder = "cnn_gru"

        def plan(self, checkpoint: Checkpoint) -> Plan:
            ours = EncoderBundle(spec=SPEC, encoder={"name": "cnn_gru", "hidden": 8}).encoder.state_dict()
            return Plan(
                encoder={"name": self.encoder, "hidden": 8},
                spec=SPEC,
                tensors={name: (f"theirs/{name}",) for name in ours if name != "missing"},
                zero={"missing": "none"},
            )

    monkeypatch.setattr(registry.converters, "_classes", dict(registry.converters._classes))
    registry.converters.names()
    return registry.converters.register("test_theirs")(Theirs)


SPEC = InputSpec(rate_hz=50, window_s=5, mean=(0,) * 6, std=(1,) * 6)


def test_a_converter_of_a_user(theirs: type[Converter], tmp_path: Path) -> None:
    ours = EncoderBundle(spec=SPEC, encoder={"name": "cnn_gru", "hidden": 8}).encoder.state_dict()
    state = {f"theirs/{name}": value.numpy() for name, value in ours.items() if name != "missing"}
    path = write(tmp_path / "a.pt", state)
    assert convert("test_theirs", path, tmp_path / "out").licence == "CC0"
    theirs.encoder = "primus"  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"this converter and encoder 'primus' do not fit: head\.bias, head"):
        convert("test_theirs", path, tmp_path / "other")


def test_a_folder_that_differs_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An encoder with state outside its state dict would be stored incompletely."""
    state = mw2_state("net.", hidden=8)
    save = EncoderBundle.save

    def forgetful(bundle: EncoderBundle, folder: Path, **options: object) -> Path:
        bundle.encoder.gru.bias_ih_l0.data.add_(0.1)
        try:
            return save(bundle, folder, **options)  # type: ignore[arg-type]
        finally:
            bundle.encoder.gru.bias_ih_l0.data.sub_(0.1)

    monkeypatch.setattr(EncoderBundle, "save", forgetful)
    with pytest.raises(ParityError, match=r"differs by up to .* nothing was written"):
        convert("imu2clip", write(tmp_path / "a.pt", state), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown converter 'harnett'; did you mean 'harnet'"):
        convert("harnett", tmp_path / "a.pt", tmp_path / "out")
