"""Rows of a build on disk: the order of addition, tables sorted over all subjects, one recording per name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imu_video.errors import LeakageError
from imu_video.recordings.recipe import NoteRow
from imu_video.shards.building import spool as module
from imu_video.shards.building.encode import Tally
from imu_video.shards.building.spool import Spool
from imu_video.shards.left_out import LeftOut
from imu_video.shards.schema import SourceFile


@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_tables_are_those_of_one_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)  # blocks of 512 bytes, shorter than some rows
    rng = np.random.default_rng(0)
    wanted: dict[str, dict[str, dict[str, object]]] = {"sources": {}, "dropped": {}}
    names = ["a", "é/ü.csv", 'quote".csv', "tab\t.csv", "line\n.csv", "\\", *(f"f{i:03d}" for i in range(300))]
    with Spool(tmp_path / "rows") as spool:
        assert not spool.has("sources")
        for number in range(40):
            some = [names[i] for i in rng.choice(len(names), rng.integers(0, 30), replace=False)]
            sources = {name: {"bytes": number, "mtime_ns": len(name) * 10 ** int(rng.integers(1, 18))} for name in some}
            lost = {f"{number}-{name}": {"gap": [float(number)] * int(rng.integers(0, 200))} for name in some}
            spool.add(Tally(sources=sources, lost=lost))
            wanted["sources"].update(sources)
            wanted["dropped"].update(lost)
        for kind, table in wanted.items():
            found = [(name, json.loads(value)) for name, value in spool.table(kind)]
            assert found == sorted(table.items()), kind
            assert found == [(name, json.loads(value)) for name, value in spool.table(kind)], "read twice"
        spool.add_sources({"a": SourceFile(bytes=7, mtime_ns=8), "zz": SourceFile(bytes=9, mtime_ns=1)})
        rows = dict(spool.table("sources"))
        assert json.loads(rows["a"]) == {"bytes": 7, "mtime_ns": 8}
        assert list(rows)[-1] == "é/ü.csv"
    assert not (tmp_path / "rows").exists()


def test_subjects_in_order_are_one_run(tmp_path: Path) -> None:
    with Spool(tmp_path / "rows") as spool:
        for number in range(1000):
            spool.add(Tally(sources={f"s{number:04d}/{i}.csv": {"bytes": 1, "mtime_ns": 2} for i in range(3)}))
        assert len(spool._runs["sources"]) == 1
        assert sum(1 for _ in spool.table("sources")) == 3000


def test_rows_keep_the_order_of_addition_and_names_are_unique(tmp_path: Path) -> None:
    left = LeftOut(recording="r9", subject="s", reason="empty")
    note = NoteRow(recording="r1", subject="s", note="two\nlines\tand a tab")
    statistics = {"r1": {"waist": {"mean": [0.5], "std": [1.0]}}}
    with Spool(tmp_path / "rows") as spool:
        spool.add(Tally(recordings=["r1", "r2"], notes=[note], left_out=[left], statistics=statistics))
        spool.add(Tally(recordings=["r0"], notes=[note.model_copy(update={"recording": "r0"})]))
        assert [json.loads(row)["recording"] for row in spool.rows("notes")] == ["r1", "r0"]
        assert json.loads(next(spool.rows("notes")))["note"] == note.note
        assert json.loads("{" + ", ".join(spool.rows("statistics")) + "}") == statistics
        assert spool.first == left
        assert [json.loads(row) for row in spool.rows("left_out")] == [left.model_dump(exclude_none=True)]
        with pytest.raises(LeakageError, match="'r2' is used by two subjects"):
            spool.add(Tally(recordings=["r3", "r2"]))
