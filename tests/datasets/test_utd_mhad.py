"""UTD-MHAD on a made-up tree with the original's formats, and its alignment on the real recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from imu_video.datasets.utd_mhad import ACTIONS, BODY_JOINTS, BODY_NAMES, JOINTS, UtdMhad, depth_to_rgb
from imu_video.errors import ConfigError, RecordingError
from imu_video.registry import datasets
from imu_video.simulation.body import JOINTS as WORLD
from imu_video.types import GRAVITY


def trial(root: Path, action: int, subject: int, number: int, *, samples: int = 120, frames: int = 40) -> None:
    rng = np.random.default_rng(action * 100 + subject)
    stem = f"a{action}_s{subject}_t{number}"
    for folder in ("Inertial", "Skeleton", "Depth"):
        (root / folder).mkdir(exist_ok=True)
    inertial = rng.normal(0, 0.1, (samples, 6))
    inertial[:, 1] += 1.0
    inertial[:, 3:] *= 100
    savemat(root / "Inertial" / f"{stem}_inertial.mat", {"d_iner": inertial})
    savemat(root / "Skeleton" / f"{stem}_skeleton.mat", {"d_skel": rng.normal(size=(20, 3, frames))})
    if number == 1:
        depth = np.zeros((24, 32, frames), np.uint16)
        depth[6:20, 10:20] = 2000 + 10 * np.arange(frames)  # 14 rows, 10 columns
        savemat(root / "Depth" / f"{stem}_depth.mat", {"d_depth": depth}, do_compression=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for action, subject, number in [(1, 2, 1), (1, 2, 2), (22, 1, 1), (27, 10, 1)]:
        trial(tmp_path, action, subject, number)
    return tmp_path


def test_made_up_tree_is_read_in_si_units_and_stable_order(tree: Path) -> None:
    source = datasets.build({"name": "utd_mhad", "root": str(tree)})
    assert source.subjects() == ["s1", "s10", "s2"]
    recordings = list(source.recordings())
    assert [r.name for r in recordings] == ["a22_s1_t1", "a1_s2_t1", "a1_s2_t2", "a27_s10_t1"]
    assert [r.imu[0].placement for r in recordings] == ["right_thigh", "right_wrist", "right_wrist", "right_thigh"]
    swipe = recordings[1]
    assert np.median(np.linalg.norm(swipe.imu[0].values[:3], axis=0)) == pytest.approx(GRAVITY, rel=0.1)
    assert swipe.imu[0].values[3:].std() == pytest.approx(np.deg2rad(10), rel=0.1)
    assert [(s.label, s.start, s.end) for s in swipe.segments] == [("right_arm_swipe_left", 0.0, 2.4)]
    assert "skeleton" in swipe.streams
    assert swipe.streams["skeleton"].joints.shape == (40, 20, 3)
    assert "video" not in recordings[2].streams  # depth exists for trial 1 only
    assert [r.subject for r in source.recordings(["s10", "s1"])] == ["s1", "s10"]
    assert len(ACTIONS) == 27
    assert len(set(ACTIONS)) == 27


def test_body_joints_have_the_names_and_order_of_the_simulated_world(tree: Path) -> None:
    kinect, body = (
        next(UtdMhad(root=str(tree), joints=kind).recordings(["s2"])).streams["skeleton"] for kind in ("kinect", "body")
    )
    assert body.names == BODY_JOINTS == WORLD
    for place, name in enumerate(JOINTS):
        found = body.joints[:, body.names.index(BODY_NAMES.get(name, name))]
        np.testing.assert_array_equal(found, kinect.joints[:, place])


def test_frames_are_spread_over_the_inertial_duration(tree: Path) -> None:
    swipe = next(UtdMhad(root=str(tree)).recordings(["s2"]))
    assert "video" in swipe.streams
    assert "skeleton" in swipe.streams
    for times in (swipe.streams["video"].times, swipe.streams["skeleton"].times):
        np.testing.assert_allclose(times, np.linspace(0, 119 / 50, 40))
    frames = swipe.streams["video"].read([0, 39, 39])
    assert frames.shape == (3, 14, 14, 3)  # the square around the person
    assert np.array_equal(frames[1], frames[2])
    assert frames[0][7, 7, 0] > frames[1][7, 7, 0]  # walks away from the camera


def test_options_leave_modalities_and_trials_out(tree: Path) -> None:
    bare = list(UtdMhad(root=str(tree), depth=False, skeleton=False, trials=[2]).recordings())
    assert [(r.name, r.streams.get("video"), r.streams.get("skeleton")) for r in bare] == [("a1_s2_t2", None, None)]


def test_depth_may_be_a_view_beside_the_video(tree: Path) -> None:
    source = datasets.build({"name": "utd_mhad", "root": str(tree), "depth": "view"})
    (first, second) = source.recordings(["s2"])
    assert "video" not in first.streams
    as_video = next(UtdMhad(root=str(tree)).recordings(["s2"])).streams["video"]
    assert as_video is not None
    np.testing.assert_array_equal(first.streams["video.depth"].read([3]), as_video.read([3]))
    assert second.streams.keys() == {"skeleton"}
    with pytest.raises(ConfigError, match="argument 'depth"):
        datasets.build({"name": "utd_mhad", "root": str(tree), "depth": "voew"})


def test_depth_map_is_fixed_and_readable() -> None:
    depth = np.zeros((2, 20, 20), np.uint16)
    depth[:, 4:16, 4:16] = 2000
    depth[1, 4:16, 4:16] += (np.arange(12) * 20).astype(np.uint16)  # slopes away to the right
    picture = depth_to_rgb(depth, centre_mm=2000)
    assert picture.dtype == np.uint8
    assert (picture[depth == 0] == 0).all()
    assert (picture[depth > 0].min(axis=-1) > 0).all()
    middle = picture[:, 10, 10]
    assert middle[1, 0] < middle[0, 0]
    assert np.array_equal(depth_to_rgb(depth[1:], centre_mm=2000), picture[1:])  # no adaptation between frames


def test_faults_name_the_file(tree: Path) -> None:
    path = tree / "Inertial" / "a1_s2_t1_inertial.mat"
    savemat(path, {"d_other": np.zeros((5, 6))})
    with pytest.raises(RecordingError, match=r"a1_s2_t1_inertial\.mat: no array 'd_iner'"):
        next(UtdMhad(root=str(tree)).recordings(["s2"]))
    savemat(path, {"d_iner": np.zeros((6, 50))})
    with pytest.raises(RecordingError, match=r"shape \(6, 50\), expected \(n, 6\)"):
        next(UtdMhad(root=str(tree)).recordings(["s2"]))
    trial(tree, 1, 2, 1)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):  # damaged files end in one error type, or are read as something
        broken = bytearray(whole[: int(rng.integers(0, len(whole)))])
        for at in rng.integers(0, max(1, len(broken)), 5):
            broken[at : at + 1] = bytes([int(rng.integers(0, 256))])
        path.write_bytes(bytes(broken))
        try:
            next(UtdMhad(root=str(tree)).recordings(["s2"]))
        except RecordingError as error:
            assert "a1_s2_t1" in str(error)  # noqa: PT017
    with pytest.raises(ConfigError, match="no subject 's3'"):
        next(UtdMhad(root=str(tree)).recordings(["s3"]))
    with pytest.raises(RecordingError, match="no folder"):
        UtdMhad(root=str(tree / "nowhere"))
    with pytest.raises(RecordingError, match="no files Inertial"):
        UtdMhad(root=str(tree / "Inertial"))


# ------------------------------------------------------------------------------------------------------- real data


def motion_correlation(gyro: np.ndarray, imu_times: np.ndarray, wrist: np.ndarray, times: np.ndarray) -> float:
    """Correlation of angular rate with the speed of a joint whose frames lie at the given times."""
    inside = times <= imu_times[-1]
    speed = np.linalg.norm(np.gradient(wrist[inside], times[inside], axis=0), axis=1)
    smooth = np.convolve(gyro, np.ones(7) / 7, "same")
    return float(np.corrcoef(speed, np.interp(times[inside], imu_times, smooth))[0, 1])


@pytest.mark.realdata
def test_real_stretch_alignment_beats_a_frame_rate(real_data: Path) -> None:
    source = UtdMhad(root=str(real_data / "utd-mhad"), depth=False, trials=[1, 2])
    assert source.subjects() == [f"s{i}" for i in range(1, 9)]
    stretched, at_30_fps = [], []
    for recording in source.recordings(["s1", "s4", "s6"]):
        if recording.imu[0].placement != "right_wrist":
            continue
        assert "skeleton" in recording.streams
        gyro = np.linalg.norm(recording.imu[0].values[3:], axis=0)
        wrist = recording.streams["skeleton"].joints[:, JOINTS.index("right_wrist")]
        clock = recording.imu[0].times
        stretched.append(motion_correlation(gyro, clock, wrist, recording.streams["skeleton"].times))
        at_30_fps.append(motion_correlation(gyro, clock, wrist, np.arange(len(wrist)) / 30))
    assert len(stretched) == 126
    assert np.mean(stretched) > 0.7
    assert np.mean(stretched) > np.mean(at_30_fps) + 0.3


@pytest.mark.realdata
def test_real_tree_is_complete(real_data: Path) -> None:
    source = UtdMhad(root=str(real_data / "utd-mhad"))
    assert len(source._trials) == 861
    recording = next(source.recordings(["s7"]))
    assert "video" in recording.streams
    assert "skeleton" in recording.streams
    assert len(recording.streams["video"].times) == len(recording.streams["skeleton"].times)
    picture = recording.streams["video"].read([len(recording.streams["video"].times) // 2])[0]
    person = picture.any(axis=-1)
    assert picture.shape[0] == picture.shape[1] > 100
    assert 0.1 < person.mean() < 0.6
    assert picture[person].std(axis=0).min() > 5
    assert picture[person].mean() == pytest.approx(155, abs=25)
    assert np.median(np.linalg.norm(recording.imu[0].values[:3], axis=0)) == pytest.approx(GRAVITY, rel=0.2)
