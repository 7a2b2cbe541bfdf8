"""Made-up trees in the exact layout of public sets: every device lies still in a direction of its own.

Device number i of an adapter's placements measures `acc(i)` in g and `gyr(i)` in rad/s, in the units of its set, so
that a swapped column, a wrong unit or a wrong placement shows as another number. Each maker returns the adapter's
arguments.
"""

from __future__ import annotations

import gzip
import io
import json
import types
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from imu_video.modalities.mp4 import encode_mp4

G = 9.80665
DEG = 180 / np.pi
UIDS = [f"0000000{i}-0000-0000-0000-000000000000" for i in range(4)]


def acc(i: int = 0) -> np.ndarray:
    """Acceleration of device i in g."""
    return np.array([0.1 + 0.01 * i, 0.97, 0.2])


def gyr(i: int = 0) -> np.ndarray:
    """Angular rate of device i in rad/s."""
    return np.array([0.1 + 0.01 * i, -0.2, 0.3])


def rows(*columns: Any, count: int) -> np.ndarray:
    """(count, columns): constants repeated, arrays of that length as columns."""
    parts = [np.broadcast_to(np.atleast_1d(c), (count, np.size(c))) if np.size(c) != count else c for c in columns]
    return np.column_stack(parts)


def text(path: Path, table: Iterable[Iterable[Any]], *, separator: str = ",", before: str = "", end: str = "") -> None:
    """Write a table; floats in full precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(str(v) if not isinstance(v, float) else repr(float(v)) for v in row) + end for row in table]
    path.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")


def clip(path: Path, frames: int = 20, fps: float = 10.0) -> None:
    """A video of grey frames, frame i of level 10 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (10 * np.arange(frames)).astype(np.uint8)
    path.write_bytes(encode_mp4(np.broadcast_to(levels[:, None, None, None], (frames, 32, 32, 3)), fps))


def pamap2(root: Path) -> dict[str, Any]:
    def table(labels: np.ndarray) -> np.ndarray:
        n = len(labels)
        out = np.full((n, 54), np.nan)
        out[:, 0], out[:, 1] = 8.0 + np.arange(n) / 100, labels
        for i, first in enumerate((3, 20, 37)):
            out[:, first] = 31.0
            out[:, first + 1 : first + 4] = acc(i) * G
            out[:, first + 4 : first + 7] = acc(i) * G + 0.5  # the narrow range is another sensor
            out[:, first + 7 : first + 10] = gyr(i)
            out[:, first + 10 : first + 17] = 7.0
        out[5, 20:37] = np.nan  # a sample that the radio lost
        return out

    labels = np.repeat([0, 1, 0, 24], 100)
    text(root / "PAMAP2_Dataset/Protocol/subject101.dat", table(labels), separator=" ")
    text(root / "PAMAP2_Dataset/Protocol/subject102.dat", table(labels), separator=" ")
    text(root / "PAMAP2_Dataset/Optional/subject101.dat", table(np.repeat([9], 200)), separator=" ")
    return {}


def mhealth(root: Path) -> dict[str, Any]:
    for person in (1, 10):
        n = 300
        out = np.zeros((n, 24))
        out[:, 0:3], out[:, 5:8], out[:, 14:17] = acc(0) * G, acc(1) * G, acc(2) * G
        out[:, 8:11], out[:, 17:20] = gyr(1) * DEG, gyr(2) * DEG
        out[:, 23] = np.repeat([0, 4, 3], 100)
        text(root / f"MHEALTHDATASET/mHealth_subject{person}.log", out, separator="\t")
    return {}


def dsads(root: Path) -> dict[str, Any]:
    one = np.concatenate([np.concatenate([acc(i) * G, gyr(i), [0.1, 0.2, 0.3]]) for i in range(5)])
    for activity, person in ((1, 1), (12, 1), (1, 2)):
        for segment in (1, 2, 4):
            text(root / f"data/a{activity:02d}/p{person}/s{segment:02d}.txt", rows(one, count=125))
    return {}


def uschad(root: Path) -> dict[str, Any]:
    for person, activity, trial in ((1, 1, 1), (1, 12, 5), (13, 6, 2)):
        path = root / f"USC-HAD/Subject{person}/a{activity}t{trial}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        field = "activity_numbr" if person == 13 else "activity_number"
        savemat(path, {"sensor_readings": rows(acc(), gyr() * DEG, count=300), "subject": "1", field: str(activity)})
    return {}


def opportunity(root: Path) -> dict[str, Any]:
    for run in ("S1-ADL1", "S1-Drill", "S4-ADL5"):
        n = 120
        out = np.full((n, 250), 5.0)
        out[:, 0] = np.round(np.arange(n) * 1000 / 30)
        out[:, 4:7] = acc(0) * 1000
        for i, first in enumerate((37, 50, 63, 76, 89), start=1):
            out[:, first : first + 3], out[:, first + 3 : first + 6] = acc(i) * 1000, gyr(i) * 1000
        out[10, 4:7] = np.nan
        out[:, 243], out[:, 249] = np.repeat([0, 1, 2, 5], 30), np.repeat([0, 406516, 0, 405506], 30)
        text(root / f"OpportunityUCIDataset/dataset/{run}.dat", out, separator=" ")
    return {}


def wisdm(root: Path) -> dict[str, Any]:
    for subject in (1600, 1601):
        for i, device in enumerate(("phone", "watch")):
            for kind, values in (("accel", acc(i) * G), ("gyro", gyr(i))):
                lines = []
                for letter, start in (("A", 252207666810782), ("S", 262207666810782)):
                    lag = 3_000_000 if kind == "gyro" else 0
                    lines += [(subject, letter, start + lag + 50_000_000 * k, *values.tolist()) for k in range(60)]
                path = root / f"wisdm-dataset/wisdm-dataset/raw/{device}/{kind}/data_{subject}_{kind}_{device}.txt"
                text(path, lines, end=";")
    return {}


def motionsense(root: Path) -> dict[str, Any]:
    names = ["attitude.roll", "attitude.pitch", "attitude.yaw"] + [
        f"{part}.{axis}" for part in ("gravity", "rotationRate", "userAcceleration") for axis in "xyz"
    ]
    # At rest, screen up, iOS reports gravity -1 g along z; together with what the person adds it makes -acc().
    user = np.array([0.02, -0.01, 0.03])
    values = rows([0.1, 0.2, 0.3], -acc() - user, gyr(), user, count=150)
    for folder, person in (("dws_1", 1), ("sit_13", 1), ("wlk_7", 24)):
        table = [(k, *row) for k, row in enumerate(values.tolist())]
        path = root / f"data/A_DeviceMotion_data/A_DeviceMotion_data/{folder}/sub_{person}.csv"
        text(path, table, before=",".join(["", *names]) + "\n")
        text(root / f"data/B_Accelerometer_data/B_Accelerometer_data/{folder}/sub_{person}.csv", [(0, 1, 2, 3)])
    return {}


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _realworld_csv(values: np.ndarray, start: int) -> bytes:
    lines = [f"{k + 1},{start + 20 * k},{','.join(map(repr, values.tolist()))}" for k in range(150)]
    return ("id,attr_time,attr_x,attr_y,attr_z\n" + "\n".join(lines) + "\n").encode()


def realworld(root: Path) -> dict[str, Any]:
    worn = ("chest", "forearm", "head", "shin", "thigh", "upperarm", "waist")
    for person in (1, 2):
        data = root / f"realworld2016_dataset/proband{person}/data"
        data.mkdir(parents=True)
        for name, first in (("acc", "acc"), ("gyr", "Gyroscope")):
            members = {}
            for i, place in enumerate(worn):
                values = acc(i) * G if name == "acc" else gyr(i)
                members[f"{first}_walking_{place}.csv"] = _realworld_csv(values, 1435993897035 + 7 * (name == "gyr"))
            (data / f"{name}_walking_csv.zip").write_bytes(_zip({**members, "readMe": b"about"}))
    parts = {}
    for n in (1, 2):  # as in the set, the name of the inner archive tells the part
        parts[f"acc_jumping_{n}_csv.zip"] = _zip({"acc_jumping_head.csv": _realworld_csv(acc(2) * G, n)})
    (root / "realworld2016_dataset/proband1/data/acc_jumping_csv.zip").write_bytes(_zip(parts))
    return {}


def hhar(root: Path) -> dict[str, Any]:
    folder = root / "Activity recognition exp"
    header = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt\n"
    for i, (worn, device, model, rate) in enumerate(
        (("Phones", "nexus4_1", "nexus4", 200), ("Watch", "gear_1", "gear", 100))
    ):
        for sensor, values in (("accelerometer", acc(i) * G), ("gyroscope", gyr(i))):
            lines = []
            for user in "ab":
                for k in range(3 * rate):
                    taken = 1424696633.0 + k / rate
                    arrived = round(1000 * (np.ceil(taken * 10) / 10))  # delivered ten times a second
                    label = ("stand", "null", "stairsup")[k // rate]
                    lines.append((k, arrived, int(taken * 1e9), *values.tolist(), user, model, device, label))
            text(folder / f"{worn}_{sensor}.csv", lines, before=header)
    return {}


def capture24(root: Path) -> dict[str, Any]:
    folder = root / "capture24"
    folder.mkdir()
    (folder / "annotation-label-dictionary.csv").write_text(
        "annotation,label:Willetts2018,label:Walmsley2020\n"
        "7030 sleeping;MET 0.95,sleep,sleep\n17150 walking household;MET 2.0,walking,light\n"
    )
    for person in ("P001", "P002"):
        lines = ["time,x,y,z,annotation"]
        for k in range(600):
            note = ("7030 sleeping;MET 0.95", "", "17150 walking household;MET 2.0")[k // 200]
            lines.append(f"2016-11-13 02:18:{k / 100:09.6f},{','.join(map(repr, acc().tolist()))},{note}")
        (folder / f"{person}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return {}


def wear(root: Path) -> dict[str, Any]:
    arms = ("right_arm", "right_leg", "left_leg", "left_arm")
    header = "sbj_id," + ",".join(f"{arm}_acc_{axis}" for arm in arms for axis in "xyz") + ",label\n"
    for number in (0, 1, 18):
        labels = ["null"] * 50 + ["jogging"] * 50 + [""] * 10 + ["push-ups (complex)"] * 50
        values = np.concatenate([acc(i) for i in range(4)]).tolist()
        text(
            root / f"raw/inertial/50hz/sbj_{number}.csv", [(number, *values, label) for label in labels], before=header
        )
    clip(root / "raw/camera/sbj_0.mp4", frames=20)
    return {}


def mmact(root: Path) -> dict[str, Any]:
    def sensor(source: str, where: str, values: np.ndarray, rate: int, action: str) -> None:
        lines = [(f"2018-11-20 10:00:{1 + k / rate:09.6f}", *values.tolist()) for k in range(2 * rate)]
        text(root / f"{source}/{where}/{action}.csv", lines)

    for where, action in (("subject1/scene1/session1", "Carrying"), ("subject20/scene3/session2", "waving_hand")):
        sensor("trimmed_acc/acc_phone_clip", where, acc(0) * G, 100, action)
        sensor("trimmed_acc/acc_watch_clip", where, acc(1) * G, 100, action)
        sensor("trimmed_acc/gyro_clip", where, gyr(0), 50, action)
        sensor("trimmed_acc/orientation_clip", where, acc(0), 50, action)
    empty = root / "trimmed_acc/acc_phone_clip/subject1/scene1/session1/fall.csv"
    empty.write_text("")
    clip(root / "trimmed/subject1/cam1/scene1/session1/carrying.mp4", frames=20)
    clip(root / "trimmed/subject1/cam2/scene1/session1/carrying.mp4", frames=20)
    return {}


def stamp(seconds: float) -> str:
    """CMU-MMAC's ``hh_mm_ss_fffffff``."""
    whole, ticks = divmod(round(seconds * 1e7), 10**7)
    return f"{whole // 3600:02d}_{whole // 60 % 60:02d}_{whole % 60:02d}_{ticks:07d}"


def cmu_mmac(root: Path) -> dict[str, Any]:
    names = "Accel_X\tAccel_Y\tAccel_Z\tRoll\tPitch\tYaw\tMag_X\tMag_Y\tMag_Z\tCount\tSysTime\n"
    zero = 16 * 3600 + 30 * 60 + 49.0
    for subject, recipe in (("S07", "Brownie"), ("S08", "Eggs")):
        for i, serial in enumerate(("2794", "2795", "2796", "3261", "3337")):
            lines = [
                (*acc(i).tolist(), *gyr(i).tolist(), 0.1, 0.2, 0.3, k, stamp(zero + k * 0.008)) for k in range(300)
            ]
            path = root / f"{subject}_{recipe}_3DMGX1/{serial}_01-30_16_30_49-time.txt"
            text(path, lines, separator="\t", before=f"Sensor: {serial}\n{names}")
    folder = root / "S07_Brownie_Video"
    clip(folder / "S07_Brownie_7150991-5.avi", frames=60)
    frames = [f"Frame:{k} EPOCH: -- {stamp(zero + k / 30)}" for k in range(1, 80)]
    (folder / "STime7150991-time-synch.txt").write_text("\n".join(frames) + "\n")
    return {}


def mmea(root: Path) -> dict[str, Any]:
    counts = np.round(np.concatenate([acc() * 8192, gyr() * DEG * 16.4])).astype(int)
    for folder, name in (
        ("1_upstairs", "1_upstairs_2022_04_30_00_52_08"),
        ("27_open_close_door", "27_open_close_door_2022_04_29_13_04_21"),
        ("32_watch_TV", "32_watch_TV_2022_04_30_13_00_42"),
    ):
        text(root / f"UESTC-MMEA-CL/sensor/{folder}/{name}.csv", [counts.tolist()] * 100)
    clip(root / "UESTC-MMEA-CL/video/1_upstairs/1_upstairs_2022_04_30_00_52_08.mp4", frames=50, fps=25.0)
    return {}


def ego4d(root: Path) -> dict[str, Any]:
    videos = [
        {"video_uid": UIDS[0], "fb_participant_id": 7, "scenarios": ["Cooking"], "device": "GoPro Hero 7"},
        {"video_uid": UIDS[1], "fb_participant_id": None, "origin_video_id": "o1", "scenarios": ["Cooking", "Walking"]},
        {"video_uid": UIDS[2], "fb_participant_id": 7, "scenarios": [], "device": "GoPro Hero 7"},
    ]
    (root / "ego4d.json").write_text(json.dumps({"version": "v2", "videos": videos}))
    names = "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z\n"
    for uid in UIDS[:2]:
        lines = [(0, 5.0 * k, 5.0 * k, *gyr().tolist(), *(acc() * G).tolist()) for k in range(600)]
        text(root / f"v2/imu/{uid}.csv", lines, before=names)
    clip(root / f"v2/full_scale/{UIDS[0]}.mp4", frames=20)
    return {}


def egoexo4d(root: Path) -> dict[str, Any]:
    takes = [
        {
            "take_name": name,
            "root_dir": f"takes/{name}",
            "participant_uid": person,
            "timesync_start_idx": 3,
            "timesync_end_idx": 44,
            "task_name": "Remove a Wheel",
            "parent_task_name": "Bike Repair",
            "university_name": "cmu",
            "is_dropped": False,
            "capture": {"root_dir": "captures/cmu_bike01"},
        }
        for name, person in (("cmu_bike01_2", 657), ("cmu_bike01_3", 3), ("cmu_bike01_4", 3))
    ]
    (root / "takes.json").write_text(json.dumps(takes))
    for name in ("cmu_bike01_2", "cmu_bike01_3"):
        (root / "takes" / name).mkdir(parents=True)
        (root / "takes" / name / "aria01_noimagestreams.vrs").write_bytes(b"made up")
    clip(root / "takes/cmu_bike01_2/frame_aligned_videos/aria01_214-1.mp4", frames=50, fps=30.0)
    lines = [(k, "" if k == 10 else 100_000_000_000 + round(k * 1e9 / 30)) for k in range(60)]
    text(root / "captures/cmu_bike01/timesync.csv", lines, before=",aria01_214-1_capture_timestamp_ns\n")
    return {}


class FakeAria:
    """What `egoexo4d` uses of projectaria-tools: a provider whose IMUs lie still from 99 to 102 s of device time."""

    def __init__(self, labels: tuple[str, ...] = ("imu-right", "imu-left"), start: float = 99.0) -> None:
        self.labels, self.start = labels, start

    def create_vrs_data_provider(self, path: str) -> FakeAria | None:
        return self if Path(path).read_bytes() == b"made up" else None

    def get_stream_id_from_label(self, label: str) -> str | None:
        return label if label in self.labels else None

    def get_num_data(self, stream: str) -> int:
        return 3 * self._rate(stream)

    def get_imu_data_by_index(self, stream: str, index: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            capture_timestamp_ns=round(1e9 * (self.start + index / self._rate(stream))),
            accel_msec2=(acc() * G).tolist(),
            gyro_radsec=gyr().tolist(),
            accel_valid=index % 500 != 499,
            gyro_valid=True,
        )

    @staticmethod
    def _rate(stream: str) -> int:
        return {"imu-right": 1000, "imu-left": 800}[stream]


def pdiot(root: Path) -> dict[str, Any]:
    names = ",timestamp,accel_x,accel_y,accel_z,gyro_x,gyro_y,gyro_z\n"
    for subject in ("s1", "s15"):
        for i, device in enumerate(("Respeck", "Thingy")):
            for activity, signal in (("normalWalking", "breathingNormal"), ("sitting", "coughing")):
                if device == "Thingy" and signal != "breathingNormal":
                    continue
                counts = 50 + int(subject[1:])  # files of different subjects are never equal
                lines = [(k, 1697605965 + 40 * k, *acc(i).tolist(), *(gyr(i) * DEG).tolist()) for k in range(counts)]
                name = f"{subject}_{device.lower()}_{activity}_{signal}.csv"
                text(root / device / subject / name, lines if signal[0] == "b" else lines[1:], before=names)
    return {}


def wisdm51_watch(root: Path) -> dict[str, Any]:
    for subject in ("1600", "1637"):
        lines = [(subject, letter, *(acc() * G).tolist()) for letter in "AABAM" for _ in range(40)]
        text(root / f"data_{subject}_accel_watch.txt", lines, end=";")
    return {}


def smartfallmm(root: Path) -> dict[str, Any]:
    def device(group: str, name: str, trial: str, i: int, count: int) -> None:
        path = root / group / "accelerometer" / name / f"{trial}.csv"
        if name.startswith("meta"):
            text(path, [(f"16799457{55762 + 40 * k}", moment(k, "T"), k / 25, *acc(i).tolist()) for k in range(count)])
        else:
            text(path, [(moment(k, " "), *(acc(i) * G).tolist()) for k in range(count)])

    def moment(k: int, between: str) -> str:
        return f"2023-03-27{between}14:35:{(55762 + 40 * k) / 1000 - 50:06.3f}"

    for group, trial in (("young", "S29A01T01"), ("young", "S30A14T02"), ("old", "S02A04T03")):
        for i, name in enumerate(("phone", "watch", "meta_wrist", "meta_hip")):
            device(group, name, trial, i, 60 + int(trial[1:3]))
        joints = np.arange(96.0) + np.arange(40.0)[:, None]
        text(root / group / "skeleton" / f"{trial}.csv", joints.astype(int).tolist())
    return {}


TREES: dict[str, Callable[[Path], dict[str, Any]]] = {
    maker.__name__: maker
    for maker in (
        capture24,
        cmu_mmac,
        dsads,
        ego4d,
        egoexo4d,
        hhar,
        mhealth,
        mmact,
        mmea,
        motionsense,
        opportunity,
        pamap2,
        pdiot,
        realworld,
        smartfallmm,
        uschad,
        wear,
        wisdm,
        wisdm51_watch,
    )
}
