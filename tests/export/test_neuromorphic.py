"""NIR files: every spike survives the round trip, also through an independent simulator; foreign graphs are refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.cli.app import app
from imu_video.encoders.spiking import L2MU, prune
from imu_video.errors import CheckpointError, ConfigError, ParityError
from imu_video.export import export_nir, load_nir, neuromorphic
from imu_video.export.packages import needed
from imu_video.testing import write_folder
from imu_video.types import Window

SPEC = InputSpec(rate_hz=50, window_s=2, mean=(0.5,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
SMALL: dict[str, Any] = {"width": 12, "layers": 2, "memory": 6, "hidden": 10}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"neuron": "cuba", "pool": 3},
    {"reset": "zero", "readout": "spikes"},
    {"layers": 0, "spiking_memory": False},
]


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("nir", reason="the extra neuromorphic is not installed")


def simulator() -> ModuleType:
    path = Path(__file__).parents[1] / "reference" / "naive_nir.py"
    spec = importlib.util.spec_from_file_location("naive_nir", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(**options: Any) -> EncoderBundle:
    torch.manual_seed(1)
    bundle = EncoderBundle(spec=SPEC, encoder={"name": "l2mu", **SMALL, **options}).eval()
    with torch.no_grad():
        for key, value in bundle.encoder.named_parameters():
            if key.endswith(("leak", "threshold", "synapse")):
                value.mul_(torch.empty_like(value).uniform_(0.7, 1.05))
            elif "u_from_m" in key or key == "missing":
                value.normal_(0, 0.3)
    return bundle


def recorded(count: int = 6, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    x = (9.8 * draw.normal(size=(count, 6, 100))).astype(np.float32)
    x[0, 2] = np.nan  # a missing channel
    x[1, :, 20:40] = np.nan  # a gap
    return x


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_spike_survives_the_round_trip_and_an_independent_simulator(
    options: dict[str, Any], tmp_path: Path
) -> None:
    bundle = made(**options)
    assert prune(bundle.encoder, 0.3) > 0
    done = export_nir(bundle, tmp_path / "out", windows=recorded())
    assert done.cost is not None
    assert 0 < done.cost.sparsity < 1
    assert done.spikes > 1000

    again, x = load_nir(done.folder / "network.nir"), recorded(seed=9)
    assert np.array_equal(
        again.encode(x, rate_hz=50, check_units=False), bundle.encode(x, rate_hz=50, check_units=False)
    )
    assert again.encoder_config == bundle.encoder_config
    for key, value in bundle.encoder.state_dict().items():
        if key.endswith("kept"):
            assert torch.equal(again.encoder.state_dict()[key], value), key

    graph = needed("nir").read(done.folder / "network.nir")
    facts = json.loads((done.folder / "export.json").read_text())
    with np.load(done.folder / "golden.npz", allow_pickle=False) as golden:
        simulated = simulator().run(graph, golden["inputs"], facts["dt_s"])
        for name in bundle.encoder.populations():  # type: ignore[operator]
            np.testing.assert_array_equal(simulated[name], golden[name], err_msg=name)
            assert golden[name].any(), name
        np.testing.assert_array_equal(simulated["output"], golden["h"])
    second = export_nir(again, tmp_path / "second")
    other = needed("nir").read(second.folder / "network.nir")
    for name, node in graph.nodes.items():
        for key, value in vars(node).items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(value, getattr(other.nodes[name], key)), (name, key)


def test_decay_factors_are_recovered_in_every_bit() -> None:
    bundle = made(neuron="cuba")
    draw = torch.Generator().manual_seed(0)
    for part in bundle.encoder.populations().values():  # type: ignore[operator]
        part.leak.data = torch.rand(part.size, generator=draw)
        part.synapse.data = torch.rand(part.size, generator=draw) ** 8
    again = neuromorphic.from_nir(neuromorphic.nir_graph(bundle))
    for ours, theirs in zip(*(b.encoder.populations().values() for b in (bundle, again)), strict=True):  # type: ignore[operator]
        for one, other in zip(ours.constants(), theirs.constants(), strict=True):
            assert torch.equal(one, other)


def _change(node: str, key: str, value: Any) -> Any:
    def change(graph: Any) -> None:
        found = getattr(graph.nodes[node], key)
        setattr(graph.nodes[node], key, np.where(np.arange(found.size).reshape(found.shape) == 0, value, found))

    return change


def _drop_edge(graph: Any) -> None:
    graph.edges.remove(("h_delayed", "h_to_h"))


FAULTS: list[tuple[Any, str]] = [
    (_change("h_to_h", "weight", 0.0003), "'h_to_h': weight has values that are no multiples of 0.000976562"),
    (_change("h_to_h", "weight", np.nan), "no finite numbers"),
    (_change("m_to_m", "weight", 0.5), "not the matrix of a Legendre memory with order 4 and theta 7"),
    (_change("h", "tau", 1e9), "time constants of"),
    (_change("h", "tau", 0.07), "decay factors 1 - dt / tau that are no multiples"),
    (_change("h", "r", 2.0), "r is not the time constant divided by dt"),
    (_change("u", "v_reset", 0.1), "expected v_leak and v_reset 0"),
    (_change("u", "v_threshold", -0.1), "v_threshold -0.1, expected at least"),
    (_change("h_delayed", "delay", 1.0), "'h_delayed' has another delay"),
    (_drop_edge, "edge 'h_delayed' -> 'h_to_h' is missing"),
    (lambda graph: graph.nodes.pop("u"), "node 'u' is missing"),
    (lambda graph: graph.metadata.pop("imu_video"), "was not exported by imu-video"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_a_graph_that_the_encoder_would_compute_otherwise_is_refused(change: Any, message: str) -> None:
    graph = neuromorphic.nir_graph(made())
    change(graph)
    with pytest.raises(CheckpointError) as caught:
        neuromorphic.from_nir(graph, source="x.nir")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.nir")


def test_files_and_encoders_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    with pytest.raises(CheckpointError, match="not a NIR file"):
        load_nir(tmp_path / "broken.nir")
    with pytest.raises(CheckpointError, match="no such file"):
        load_nir(tmp_path / "absent.nir")
    with pytest.raises(ConfigError, match="'segment_cnn' has no spikes"):
        export_nir(EncoderBundle(spec=SPEC, encoder={"name": "segment_cnn", "width": 8}), tmp_path / "out")
    monkeypatch.setattr(neuromorphic, "load_nir", lambda file: made(reset="zero"))
    with pytest.raises(ParityError, match="other spikes"):
        export_nir(made(), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.nir"]


def test_the_command_writes_the_file_and_measures_sparsity(tmp_path: Path) -> None:
    made().save(tmp_path / "encoder", lineage={"run_id": "abc"})
    rows = [
        Window(key=f"w{i}", recording="r", subject="s", session="1", start=2.0 * i, imu={"waist": x}, streams={})
        for i, x in enumerate(recorded(8))
    ]
    write_folder(tmp_path / "data", {"train": iter(rows)}, rate_hz=50)
    command = ["export", str(tmp_path / "encoder"), str(tmp_path / "out"), "--nir"]
    done = CliRunner().invoke(app, [*command, "--calibrate", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert "equal in torch and in the file" in done.output
    assert "sparsity" in done.output
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["lineage"] == {"run_id": "abc"}
    assert "synaptic operations" in (tmp_path / "out" / "README.md").read_text()
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, CheckpointError)
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    both = CliRunner().invoke(app, [*command, "--onnx"])
    assert "different folders" in str(both.exception)
    assert isinstance(load_nir(tmp_path / "out" / "network.nir").encoder, L2MU)
