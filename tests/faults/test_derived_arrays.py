"""Damage to columns and teacher features: found before it is used, named with its remedy, and the remedy helps."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from imu_video.cli.app import app
from imu_video.errors import ImuVideoError, ShardError, TeacherCacheError
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.arrays import sealed
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.reading.verify_arrays import verify_arrays
from tests.faults.array_damage import KINDS, damaged
from tests.faults.children import command
from tests.faults.conftest import Score
from tests.pretrain.conftest import raw_config
from tests.shards.conftest import make_folder

pytestmark = [pytest.mark.slow, pytest.mark.faults]
TEACHER = {"name": "tiny", "dim": 8, "modality": "skeleton"}
SAMPLES = {"train": 12, "val": 12}
COLUMNS = ("imu", "present", "complete", "skeleton", "_codes", "_start", "_text", "_ends")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with columns and two teachers of the same width."""
    index = make_folder(tmp_path_factory.mktemp("arrays") / "data", SAMPLES)
    for split in SAMPLES:
        open_columns(index, split)
    embed(index, TEACHER)
    embed(index, {**TEACHER, "seed": 5})
    return index.root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def teacher_of(root: Path, seed: int = 0) -> str:
    (found,) = (
        file.parent.name
        for file in root.glob("teachers/*/teacher.json")
        if json.loads(file.read_text())["teacher"].get("seed", 0) == seed
    )
    return found


def used(root: Path, fingerprint: str) -> list[bytes]:
    """Everything that training reads: the batches of an epoch, and the facts of every sample."""
    index = load_index(root)
    columns = open_columns(index, "train")
    loader = PairLoader(
        columns=columns,
        teacher=open_cache(index, fingerprint).rows("train"),
        streams=["skeleton"],
        all_devices=True,
        batch_size=4,
        seed=0,
    )
    found = [repr([list(getattr(columns, name)) for name in ("keys", "subjects", "labels", "tags", "flags")]).encode()]
    for step in range(loader.steps_per_epoch):
        batch = loader.batch(step)
        for part in (batch.imu, batch.mask, batch.teacher, batch.devices, batch.others["skeleton"], batch.meta.time):
            assert part is not None
            found.append(part.numpy().tobytes())
    return [*found, np.asarray(columns.imu).tobytes(), columns.present.tobytes(), columns.complete.tobytes()]


def obey(root: Path, error: ImuVideoError) -> None:
    """Do what the hint of an error says."""
    hint = error.hint or ""
    if hint.startswith("delete "):
        folder = Path(hint.removeprefix("delete ").partition(";")[0].partition(" and ")[0])
        assert root in folder.parents
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        hint = f"imu-video embed {root} tiny dim=8 modality=skeleton" if "embed again" in hint else ""
    if hint.startswith("imu-video embed"):
        result = CliRunner().invoke(app, shlex.split(hint)[1:])
        assert result.exit_code == 0, result.output


def outcome(root: Path, path: Path, fingerprint: str, wanted: list[bytes]) -> tuple[bool, str]:
    """Whether damage is refused with the name of the file, found by verify, and mended by the hint; or written again.

    Returns:
        Whether that is so, and what happened.
    """
    report = verify_arrays(load_index(root))
    found = [line for line in report.problems if str(path) in line]
    try:
        result = used(root, fingerprint)
    except (ShardError, TeacherCacheError) as error:
        if str(path) not in error.message:
            return False, f"does not name the file: {error.message}"
        if not found:
            return False, f"verify does not find it: {report.problems}"
        obey(root, error)
        again = used(root, fingerprint) == wanted
        again &= not any(str(path) in line for line in verify_arrays(load_index(root)).problems)
        return again, f"obeying {error.hint!r} does not help"
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    return result == wanted, "other batches without a message"


@pytest.mark.parametrize("name", COLUMNS)
def test_damaged_columns(name: str, original: Path, tmp_path: Path, score: Score) -> None:
    wanted = used(original, teacher_of(original))
    with score(f"damage to columns/*/{name}.npy is refused, named and mended") as case:
        for number, kind in enumerate(KINDS):
            root = shutil.copytree(original, tmp_path / str(number))
            path = root / "columns" / "train" / f"{name}.npy"
            if damaged(kind, path, root / "columns" / "val" / f"{name}.npy"):
                right, what = outcome(root, path, teacher_of(original), wanted)
                case.add(right, f"{kind}: {what}")


@pytest.mark.parametrize("other", ["split", "teacher"])
def test_damaged_features(other: str, original: Path, tmp_path: Path, score: Score) -> None:
    name = teacher_of(original)
    wanted = used(original, name)
    with score(f"damage to teachers/*/train.npy is refused, named and mended (other {other})") as case:
        for number, kind in enumerate(KINDS):
            root = shutil.copytree(original, tmp_path / str(number))
            path = root / "teachers" / name / "train.npy"
            foreign = path.with_name("val.npy") if other == "split" else path.parent.with_name(teacher_of(root, 5))
            if damaged(kind, path, foreign if other == "split" else foreign / "train.npy"):
                right, what = outcome(root, path, name, wanted)
                case.add(right, f"{kind}: {what}")


@pytest.mark.parametrize("hashes", ["of the file", "none"])
def test_damaged_features_of_earlier_versions(hashes: str, original: Path, tmp_path: Path, score: Score) -> None:
    """With the hash of the file everything is found; without any, everything but other plausible values."""
    name = teacher_of(original)
    wanted = used(original, name)
    plausible = {
        "the first bit of the data", "a bit in the middle", "a bit at the end", "reversed rows", "rows moved by one",
        "zeros", "swapped with the other one",
    }  # fmt: skip
    with score(f"damage to features of an earlier version (hashes: {hashes})") as case:
        for number, kind in enumerate(KINDS):
            if hashes == "none" and kind in plausible:
                continue
            root = shutil.copytree(original, tmp_path / str(number))
            path = root / "teachers" / name / "train.npy"
            older(path.parent, keep=("bytes", "sha256") if hashes == "of the file" else ())
            assert used(root, name) == wanted
            assert any("no hashes of blocks" in note for note in verify_arrays(load_index(root)).notes)
            if damaged(kind, path, path.with_name("val.npy")):
                right, what = outcome(root, path, name, wanted)
                case.add(right, f"{kind}: {what}")


def older(folder: Path, keep: tuple[str, ...]) -> None:
    """Remove from teacher.json what earlier versions did not write."""
    content = json.loads((folder / "teacher.json").read_text())
    del content["seal"]
    content["rows"] = {split: {key: entry[key] for key in keep} for split, entry in content["rows"].items()}
    if not keep:
        del content["rows"]
    (folder / "teacher.json").write_text(json.dumps(content))


def test_embedding_again_adds_hashes_and_computes_nothing(root: Path, score: Score) -> None:
    name = teacher_of(root)
    wanted, before = used(root, name), (root / "teachers" / name / "train.npy").read_bytes()
    with score("embedding an older cache again adds its hashes") as case:
        for keep in (("bytes", "sha256"), ()):
            older(root / "teachers" / name, keep)
            notes = [line for line in verify_arrays(load_index(root)).notes if f"{name}/train.npy" in line]
            case.add(len(notes) == 1, str(notes))
            for note in verify_arrays(load_index(root)).notes:
                if name in note:
                    result = CliRunner().invoke(app, shlex.split(note.partition("add them: ")[2])[1:])
                    case.add(result.exit_code == 0, result.output)
            report = verify_arrays(load_index(root))
            case.add(not report.notes and not report.problems, f"{report.notes} {report.problems}")
            case.add(used(root, name) == wanted, "other features")
            case.add((root / "teachers" / name / "train.npy").read_bytes() == before, "other bytes")


def test_folders_and_meta_files_in_other_places(original: Path, tmp_path: Path, score: Score) -> None:
    """Columns and caches of another split, teacher or folder, and every byte of the meta files."""
    name, other = teacher_of(original), teacher_of(original, 5)
    wanted = used(original, name)
    foreign = make_folder(tmp_path / "foreign", {"train": 12, "val": 8}, shard_samples=6).root
    open_columns(load_index(foreign), "train")

    def put(source: Path, target: Path) -> None:
        shutil.rmtree(target)
        shutil.copytree(source, target)

    cases = {
        "columns of another split": ("columns/val", "columns/train"),
        "columns of another folder": (foreign / "columns/train", "columns/train"),
        "the folder of another teacher": (f"teachers/{other}", f"teachers/{name}"),
    }
    with score("columns and features of another split, folder or teacher") as case:
        for number, (what, (source, target)) in enumerate(cases.items()):
            root = shutil.copytree(original, tmp_path / f"moved{number}")
            put(root / source, root / target)
            try:
                right = used(root, name) == wanted
                case.add(right, what)
            except (ShardError, TeacherCacheError) as error:
                obey(root, error)
                case.add(str(root / target) in error.message and used(root, name) == wanted, f"{what}: {error}")
    with score("changed bytes of columns/*/meta.json and teacher.json") as case:
        for file in (f"teachers/{name}/teacher.json", "columns/train/meta.json"):
            root = shutil.copytree(original, tmp_path / f"meta{Path(file).stem}")
            whole = (root / file).read_bytes()
            for at in range(0, len(whole), 7):
                (root / file).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 7)]) + whole[at + 1 :])
                try:
                    case.add(used(root, name) == wanted, f"{file}: byte {at}")
                except (ShardError, TeacherCacheError) as error:
                    case.add(f"{root / file}" in error.message or "teacher" in error.message, f"byte {at}: {error}")
                except Exception as error:
                    case.add(False, f"{file}: byte {at}: {type(error).__name__}: {error}")


def test_a_file_that_is_truncated_while_it_is_used(root: Path, score: Score) -> None:
    """Reading beyond the end of a mapped file would end the process by SIGBUS."""
    with score("arrays truncated after they were opened: a message and no signal") as case:
        for checked in (False, True):
            index = load_index(root)
            loader = PairLoader(
                columns=open_columns(index, "train"),
                teacher=open_cache(index, teacher_of(root)).rows("train"),
                batch_size=4,
                seed=0,
            )
            if checked:
                loader.batch(0)
            for path in (root / "columns/train/imu.npy", root / f"teachers/{teacher_of(root)}/train.npy"):
                data = path.read_bytes()
                os.truncate(path, 128)
                with pytest.raises((ShardError, TeacherCacheError), match="has 128 bytes, had"):
                    loader.batch(0)
                path.write_bytes(data)
                case.add(loader.batch(0).imu.shape[0] == 4)


def reseal(folder: Path, name: str) -> None:
    """Write the hashes of a changed array into meta.json, as a program that means to deceive would."""
    from imu_video.shards.reading.array_files import save_array

    array = np.load(folder / f"{name}.npy")
    (folder / f"{name}.npy").unlink()
    facts = save_array(folder / f"{name}.npy", array)
    meta = json.loads((folder / "meta.json").read_text())
    meta["arrays"][name] = facts.plain()
    (folder / "meta.json").write_text(json.dumps(sealed(meta)))


LAUNCHED = {
    "one bit of the signals": ("columns/train/imu.npy", "a bit in the middle"),
    "texts cut off": ("columns/val/_text.npy", "one byte less"),
    "features in another order": ("teachers/{}/train.npy", "reversed rows"),
    "no features of the other split": ("teachers/{}/val.npy", "text in its place"),
}


def test_launch_on_damaged_arrays(original: Path, tmp_path: Path, score: Score) -> None:
    """The command itself: exit code 3, one error that names the file, and its hint helps; nothing is trained before."""
    name = teacher_of(original)
    with score("imu-pretrain launch on damaged arrays: exit code 3 with the name of the file; its hint helps") as case:
        for number, (what, (place, kind)) in enumerate(LAUNCHED.items()):
            root = shutil.copytree(original, tmp_path / str(number))
            path, run = root / place.format(name), tmp_path / f"run{number}"
            sections = {"optim": {"steps": 2}, "data": {"batch_size": 4, "teacher": name}}
            config = tmp_path / f"{number}.yaml"
            config.write_text(yaml.safe_dump(raw_config(root, **sections)))
            assert damaged(kind, path, path.with_name("val.npy" if path.name == "train.npy" else "train.npy"))
            refused = command("imu-pretrain", "launch", config, "--run", run)
            lines = refused.err.splitlines()
            errors = [line.partition(": ")[2] for line in lines if line.startswith("error: ")]
            hints = [line.partition(": ")[2] for line in lines if line.strip().startswith("try: ")]
            right = refused.code == 3 and refused.message and len(errors) == 1 and str(path) in errors[0]
            right &= len(hints) == 1 and not list(run.glob("checkpoints/step-*"))
            case.add(right, f"{what}: code {refused.code}: {refused.err[-600:]}")
            if right:
                obey(root, ShardError(errors[0], hint=hints[0]))
                again = command("imu-pretrain", "launch", config, "--run", run)
                case.add(again.code == 0, f"{what}, after {hints[0]!r}: code {again.code}: {again.err[-600:]}")


def test_one_bit_that_makes_every_input_zero(root: Path, tmp_path: Path, score: Score) -> None:
    """Found by its hash; with the hashes written again, by its implausible statistics."""
    path = root / "columns" / "train" / "imu.npy"
    array = np.load(path, mmap_mode="r+")
    row, channel = next((r, c) for r in range(12) for c in range(6) if np.isfinite(array[r, 1, c, 5]))
    bits = array[row, 1, channel, 5:6].view(np.uint32)
    bits ^= np.uint32(1 << 30)  # the highest bit of the exponent
    array.flush()
    assert float(np.nanmax(np.abs(array))) > 1e30
    with score("one bit makes the normalisation 1e36: refused by hash, by statistics, by the fit") as case:
        with pytest.raises(ShardError, match=r"rows 0 to 11 are not those that were written"):
            used(root, teacher_of(root))
        case.add(True)
        reseal(path.parent, "imu")
        used(root, teacher_of(root))  # the hashes fit now
        from imu_video.bundle.input_spec import fit_input_spec
        from imu_video.errors import DataError
        from imu_video.shards.batches.arrays import channel_statistics
        from imu_video.shards.reading.plausible import check_signals

        index = load_index(root)
        columns = open_columns(index, "train")
        with pytest.raises(ShardError, match=r"waist\.(acc|gyr)_.: largest magnitude .*, expected at most") as caught:
            check_signals(channel_statistics(columns), index, "train")
        assert str(root) in caught.value.message
        with pytest.raises(DataError, match="has RMS"):
            fit_input_spec(columns.imu, rate_hz=10, window_s=2)
        case.add(True)
        obey(root, caught.value)
        check_signals(channel_statistics(open_columns(index, "train")), index, "train")
        case.add(True)
