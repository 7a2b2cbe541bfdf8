"""A whole recording on one page: what it holds, and what a browser shows of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.browse.page import write_recording_page
from imu_video.browse.timeline import collect_recording, declared_offset
from imu_video.errors import ShardError
from imu_video.shards.left_out import LeftOut, write_dropped, write_left_out
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.schema import Index


@pytest.fixture(scope="module")
def recorded(folder: Index, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The folder of three people with two dropped windows of r-p0, one of them between its windows."""
    root = tmp_path_factory.mktemp("timeline") / "data"
    shutil.copytree(folder.root, root)
    write_dropped({"r-p0": {"no device measured enough": [10.0], "flat": [12.0]}, "r-p1": {}}, root)
    return load_index(root)


def test_the_content_is_that_of_the_windows(recorded: Index) -> None:
    data = collect_recording(recorded, "r-p0")
    assert (data["subject"], data["start"], data["seconds"]) == ("p0", 0.0, 14.0)
    assert [one["start"] for one in data["windows"]] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert data["dropped"] == [
        {"start": 10.0, "reason": "no device measured enough"},
        {"start": 12.0, "reason": "flat"},
    ]
    assert [one["flags"] for one in data["windows"]] == [[], [], [], ["waist:flat"], []]
    assert data["windows"][1]["devices"] == ["waist", "wrist"]
    assert [(one["start"], one["end"]) for one in data["labels"]] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    json.dumps(data, allow_nan=False)


def test_traces_lie_at_their_times(recorded: Index) -> None:
    waist, wrist = collect_recording(recorded, "r-p0")["devices"]
    columns = open_columns(recorded, "train")
    assert (waist["placement"], waist["step_s"], len(waist["values"][0])) == ("waist", 0.02, 700)
    row = columns.keys.index("d-p0-00003")
    np.testing.assert_allclose(waist["values"][2][305:400], columns.select("waist")[row, 2, 5:], atol=6e-4)
    assert waist["values"][2][300:305] == [None] * 5
    assert wrist["values"][0][0:100] == [None] * 100  # the wrist has every second window only
    assert wrist["values"][0][100] is not None


def test_a_long_recording_is_thinned_without_a_shift(recorded: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    full = collect_recording(recorded, "r-p0")["devices"][0]["values"][0]
    monkeypatch.setattr("imu_video.browse.timeline.MOST_POINTS", 100)
    thin = collect_recording(recorded, "r-p0")["devices"][0]
    assert thin["step_s"] == pytest.approx(7 * 0.02)
    assert thin["values"][0] == full[::7]


def test_pictures_and_their_motion_carry_times(recorded: Index) -> None:
    from PIL import Image

    (camera,) = collect_recording(recorded, "r-p0", thumbnails=2)["cameras"]
    assert [one["time"] for one in camera["pictures"]] == [6.0]  # window 0 has no clip, every third is shown
    picture = Image.open(io.BytesIO(base64.b64decode(camera["pictures"][0]["jpeg"])))
    assert picture.size == (32, 32)
    assert np.asarray(picture).mean() == pytest.approx(20, abs=4)
    times = [time for time, _ in camera["motion"]]
    assert times[:2] == [2.05, 2.15]
    assert times == sorted(set(times))
    assert np.median([value for _, value in camera["motion"]]) == pytest.approx(180 / 19, abs=2)


def test_an_unknown_recording_is_refused(recorded: Index) -> None:
    with pytest.raises(ShardError, match="did you mean 'r-p1'"):
        collect_recording(recorded, "r_p1")


def test_a_recording_without_windows_says_why(recorded: Index, tmp_path: Path) -> None:
    index = load_index(shutil.copytree(recorded.root, tmp_path / "data"))
    write_dropped({"r-p9": {"flat": [0.0, 2.0]}}, index.root)
    with pytest.raises(ShardError, match="all of its 2 windows were dropped: flat"):
        collect_recording(index, "r-p9")
    write_left_out([LeftOut(recording="r-p8", subject="p8", reason="r.csv is empty")], index.root)
    with pytest.raises(ShardError, match=r"'r-p8' was left out: r\.csv is empty"):
        collect_recording(index, "r-p8")


def test_the_declared_offset_is_found_in_each_form() -> None:
    listed = {"recordings": [{"name": "a", "video": {"file": "a.mp4", "offset_s": 1}}, {"name": "b"}]}
    assert declared_offset(listed, "a") == 1.0
    assert declared_offset(listed, "b") is None
    assert declared_offset({"files": {"offset_s": -0.5}}, "a") == -0.5
    assert declared_offset({"files": {"offset_s": {"b": 1}}}, "a") is None
    assert declared_offset({}, "a") is None


def test_nothing_of_the_data_is_parsed_as_html(recorded: Index, tmp_path: Path) -> None:
    write_recording_page(recorded, "r-p0", tmp_path / "deep" / "r.html")
    text = (tmp_path / "deep" / "r.html").read_text()
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", text)
    assert "default-src 'none'" in text


@pytest.fixture
def page(browser: Any, recorded: Index, tmp_path: Path) -> Iterator[Any]:
    """The page in a browser; the test fails when its script complains or it asks for anything but itself."""
    file = tmp_path / "r.html"
    write_recording_page(recorded, "r-p0", file)
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.set_default_timeout(300_000)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    opened.close()


def test_a_browser_shows_all_lanes_and_moves_the_pictures(page: Any) -> None:
    lanes = page.evaluate("[...document.querySelectorAll('canvas')].map(c => c.dataset.lane)")
    assert lanes[:4] == [
        "labels",
        "windows: kept (blue), with flags (amber), dropped (red)",
        "frames of video",
        "motion in the frames of video",
    ]
    assert [lane.split(":")[0] for lane in lanes[4:]] == ["waist", "waist", "wrist", "wrist"]
    picture = "document.querySelector('canvas[data-lane=\"motion in the frames of video\"]').toDataURL()"
    before = page.evaluate(picture)
    page.evaluate(
        "() => { const s = document.getElementById('offset'); s.value = '-1.5'; s.dispatchEvent(new Event('input')); }"
    )
    assert page.evaluate("document.body.dataset.shift") == "-1.50"
    assert "add -1.50 to the video's offset_s" in page.inner_text("#advice")
    assert page.evaluate(picture) != before
    box = page.locator("canvas").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 10.5 / 14, box["y"] + 10)
    assert page.inner_text("#hover") == "10.50 s dropped: no device measured enough"
    page.mouse.wheel(0, -300)
    assert float(page.evaluate("document.body.dataset.span")) < 14
