"""`imu-video convert` from the outside, and the evaluation of what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from imu_video.bundle import load_encoder
from imu_video.cli import app as cli
from tests.converters.conftest import write
from tests.converters.naive import harnet_state, mw2_state

Run = Callable[..., tuple[int, str, str]]

PLUGIN = '''
from imu_video.bundle import InputSpec
from imu_video.converters import Converter, Plan
from imu_video.registry import converters


@converters.register("test_plugin_converter")
class Mine(Converter):
    """Weights of the encoder `tpn` under their own names."""

    origin, licence, redistribution = "mine", "CC0", "yes"

    def __init__(self, *, rate_hz: float = 50.0) -> None:
        self.rate_hz = rate_hz

    def plan(self, checkpoint):
        channels = checkpoint.shape("layers.0.weight", 3)[1]
        return Plan(
            encoder={"name": "tpn"},
            spec=InputSpec(rate_hz=self.rate_hz, window_s=2, mean=(0,) * channels, std=(1,) * channels),
            tensors={name: (name,) for name in checkpoint.tensors},
        )
'''


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["imu-video", *(str(w) for w in words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def test_harnet(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "mtl_best.mdl", harnet_state(10, divide=16))
    code, out, err = run("convert", "harnet", path, tmp_path / "out")
    assert (code, err) == (0, "")
    assert f"converted {path} to {tmp_path / 'out'}: encoder harnet, " in out
    assert "64 features" in out
    assert "dropped 8 tensors: head of a training task\n" in out
    assert "dropped 5 tensors: smoothing filter, equal to that of the encoder\n" in out
    assert "licence: Academic Use Licence of the University of Oxford" in out
    assert "redistribution: only for academic research" in out
    assert load_encoder(tmp_path / "out").feature_dim == 64
    code, _, err = run("convert", "harnet", path, tmp_path / "out")
    assert (code, "--force" in err) == (3, True)
    assert run("convert", "harnet", path, tmp_path / "out", "--force", "--licence", "mine")[0] == 0


def test_arguments_and_errors(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", mw2_state("net.", hidden=8))
    assert run("convert", "imu2clip", path, tmp_path / "out", "rate_hz=100", "window_s=2.5")[0] == 0
    spec = load_encoder(tmp_path / "out").spec
    assert (spec.rate_hz, spec.window_s) == (100, 2.5)
    code, _, err = run("convert", "imu2clip", path, tmp_path / "no", "rate=100")
    assert (code, "did you mean 'rate_hz'" in err) == (2, True)
    code, _, err = run("convert", "imu3clip", path, tmp_path / "no")
    assert (code, "did you mean 'imu2clip'" in err) == (2, True)
    code, _, err = run("convert", "imu2clip", tmp_path / "absent.pt", tmp_path / "no")
    assert (code, "absent.pt: No such file or directory" in err) == (3, True)
    assert not (tmp_path / "no").exists()


def test_a_plugin_adds_a_converter(run: Run, tmp_path: Path) -> None:
    from imu_video.registry import encoders

    (tmp_path / "mine.py").write_text(PLUGIN)
    torch.save(encoders.build("tpn").state_dict(), tmp_path / "tpn.pt")
    words = ("convert", "test_plugin_converter", tmp_path / "tpn.pt", tmp_path / "out", "rate_hz=25")
    assert run(*words)[0] == 2
    code, out, err = run(*words, "--plugin", tmp_path / "mine.py")
    assert (code, err) == (0, "")
    assert "licence: CC0\nredistribution: yes" in out
    assert load_encoder(tmp_path / "out").spec.rate_hz == 25


def test_the_converters_are_listed(run: Run) -> None:
    code, out, _ = run("list", "converters")
    assert code == 0
    for name in ("harnet", "imu2clip", "patch_tst_hf", "primus"):
        assert name in out
    assert "rate_hz" in run("list", "converters", "patch_tst_hf")[1]
