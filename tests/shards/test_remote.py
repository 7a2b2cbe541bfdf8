"""Folders behind an address read as local ones do: fetched once, checked, bounded, whatever the network does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ConfigError, ImuVideoError, ShardError, TeacherCacheError
from imu_video.shards.features.embed import embed
from imu_video.shards.folders import fetch as fetching
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.reading.verify import verify
from imu_video.shards.remote import Address, Cache, RemoteFolder, is_address
from imu_video.shards.schema import Index

pytest.importorskip("aiohttp", reason="http addresses need the extra 'http'")


class Server:
    """A real HTTP server of one folder; faults are queued for the next requests of a path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.served: Counter[str] = Counter()
        self.queries: set[str] = set()
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                outer.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, _, query = request.path.lstrip("/").partition("?")
        self.queries.add(query)
        path = self.root / name
        fault = self.faults[name].pop(0) if self.faults[name] and request.command == "GET" else ""
        if fault.isdigit():
            request.send_error(int(fault))
            return
        if path.is_dir():
            links = "".join(f'<a href="{entry.name}">{entry.name}</a>' for entry in sorted(path.iterdir()))
            content = f"<html>{links}</html>".encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            request.send_error(404)
            return
        self.served[name] += request.command == "GET"
        if fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Content-Type", "text/html" if path.is_dir() else "application/octet-stream")
        request.end_headers()
        if request.command == "HEAD":
            return
        if fault in ("truncate", "stall"):
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            if fault == "stall":
                self.release.wait(30)
            request.close_connection = True
            return
        request.wfile.write(content)

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()  # waits for its next look at the door
        self.http.server_close()


@pytest.fixture
def server(folder: Index) -> Iterator[Server]:
    running = Server(folder.root)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMU_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IMU_VIDEO_REMOTE_TIMEOUT", "0.5")
    monkeypatch.setattr("imu_video.shards.remote._pause", lambda seconds: None)


def fetched(cache: Path) -> list[str]:
    """Names of the tars in a cache."""
    return sorted(p.name for p in cache.rglob("*.tar"))


def test_a_remote_folder_reads_like_the_local_one(folder: Index, server: Server, tmp_path: Path) -> None:
    index = load_index(server.address)
    assert index.model_dump() == folder.model_dump()
    assert index.digest == folder.digest
    assert fetched(tmp_path / "cache") == []  # nothing but the index so far
    for ours, theirs in zip(read_samples(index, "train"), read_samples(folder, "train"), strict=True):
        assert (ours.key, ours.meta, ours.streams.get("video")) == (
            theirs.key,
            theirs.meta,
            theirs.streams.get("video"),
        )
    assert fetched(tmp_path / "cache") == ["train-000000.tar", "train-000001.tar"]
    again = load_index(server.address)
    assert len(list(read_samples(again, "train"))) == 10
    assert server.served["shards/train-000000.tar"] == 1
    assert server.served["shards/val-000000.tar"] == 0
    assert verify(again).problems == []


def test_columns_and_features_are_fetched_where_they_are_there(
    folder: Index, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = open_columns(folder, "train")
    cache = embed(folder, {"name": "tiny", "dim": 8})
    index = load_index(server.address)
    np.testing.assert_array_equal(open_columns(index, "train").imu, columns.imu)
    assert fetched(tmp_path / "cache") == []
    remote = open_cache(index, cache.fingerprint)
    assert remote.splits == ["train", "val"]
    assert server.served[f"teachers/{cache.fingerprint}/train.npy"] == 0
    np.testing.assert_array_equal(remote.rows("train"), cache.rows("train"))
    assert server.served[f"teachers/{cache.fingerprint}/val.npy"] == 0
    # Columns that nobody made there are made here, from fetched tars.
    assert len(open_columns(index, "val")) == 5
    assert fetched(tmp_path / "cache") == ["val-000000.tar"]
    # A server that lists nothing: the whole fingerprint must be named.
    monkeypatch.setenv("IMU_VIDEO_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("imu_video.shards.remote.RemoteFolder.names", lambda self, folder: [])
    blind = load_index(server.address)
    with pytest.raises(TeacherCacheError, match="has no teacher features"):
        open_cache(blind)
    np.testing.assert_array_equal(open_cache(blind, cache.fingerprint).rows("val"), cache.rows("val"))


def test_features_that_arrive_damaged_are_an_error(folder: Index, server: Server) -> None:
    cache = embed(folder, {"name": "tiny", "dim": 8})
    server.faults[f"teachers/{cache.fingerprint}/train.npy"] = ["wrong"] * 9
    remote = open_cache(load_index(server.address), cache.fingerprint)
    with pytest.raises(ShardError, match=r"sha256 .*, expected .*, after 5 attempts"):
        remote.rows("train")


@pytest.mark.parametrize("fault", ["500", "503", "429", "truncate", "stall", "wrong"])
def test_faults_that_pass_are_sat_out(server: Server, tmp_path: Path, fault: str) -> None:
    name = "shards/train-000000.tar"
    server.faults[name] = [fault] * 2
    server.faults["index.json"] = [fault] if fault != "wrong" else []
    index = load_index(server.address)
    assert len(list(read_samples(index, "train"))) == 10
    assert not list((tmp_path / "cache").rglob(".*.tmp-*"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", r"ClientResponseError \(status 500\), after 5 attempts"),
        ("truncate", r"after 5 attempts"),
        ("stall", r"no byte within 0\.5 s, after 5 attempts"),
        ("wrong", r"sha256 [0-9a-f]{12}\.\.\., expected [0-9a-f]{12}\.\.\., after 5 attempts"),
        ("404", "no such file"),
        ("403", "access denied"),
    ],
)
def test_faults_that_stay_are_one_error_and_leave_no_file(
    server: Server, tmp_path: Path, fault: str, message: str
) -> None:
    server.faults["shards/val-000000.tar"] = [fault] * 99
    index = load_index(f"{server.address}?token=s3cret")
    with pytest.raises(ShardError, match=message) as caught:
        list(read_samples(index, "val"))
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert fetched(tmp_path / "cache") == []
    assert not list((tmp_path / "cache").rglob(".*.tmp-*"))
    if fault in ("404", "403"):
        assert 99 - len(server.faults["shards/val-000000.tar"]) == 1  # no use trying again


def test_signed_queries_reach_the_server_and_nothing_else(server: Server, tmp_path: Path) -> None:
    index = load_index(f"{server.address}/?token=s3cret")
    list(read_samples(index, "val"))
    assert server.queries == {"token=s3cret"}
    kept = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert not [p for p in kept if "s3cret" in str(p) or b"s3cret" in p.read_bytes()]
    assert "s3cret" not in repr(index)
    assert "s3cret" not in repr(Address.parse(f"{server.address}/?token=s3cret"))


def test_the_cache_stays_below_its_size(server: Server, tmp_path: Path, folder: Index) -> None:
    sizes = {Path(s.path).name: s.bytes for split in folder.splits.values() for s in split.shards}
    room = sizes["train-000000.tar"] + sizes["train-000001.tar"]
    cache = Cache(tmp_path / "small", size=room, in_use_s=0)
    remote = RemoteFolder(Address.parse(server.address), cache)
    root = cache.folder / "x"
    first, second, third = (s for split in folder.splits.values() for s in split.shards)
    for shard in (first, second):
        remote.local(shard.path, root, size=shard.bytes, sha256=shard.sha256)
    os.utime(root / first.path)  # used again: the other one is the one to go
    remote.local(third.path, root, size=third.bytes, sha256=third.sha256)
    assert fetched(cache.folder) == sorted([Path(first.path).name, Path(third.path).name])
    assert sum(p.stat().st_size for p in cache.folder.rglob("*.tar")) <= room
    kept = Cache(tmp_path / "small", size=first.bytes + third.bytes, in_use_s=3600)
    remote = RemoteFolder(Address.parse(server.address), kept)
    remote.local(second.path, root, size=second.bytes, sha256=second.sha256)
    assert len(fetched(cache.folder)) == 3  # all were used within the last hour: a reader may be about to open them
    tiny = RemoteFolder(Address.parse(server.address), Cache(tmp_path / "tiny", size=1000))
    with pytest.raises(ConfigError, match=r"does not fit a cache(.|\n)*IMU_VIDEO_CACHE_GB"):
        tiny.local(first.path, tmp_path / "tiny", size=first.bytes)


def test_several_processes_fetch_a_file_once(server: Server, folder: Index, tmp_path: Path) -> None:
    code = (
        "import sys; from imu_video.shards.reading.index import load_index\n"
        "from imu_video.shards.reading.pipeline import read_samples\n"
        "print(len(list(read_samples(load_index(sys.argv[1]), 'train'))))\n"
    )
    worker = subprocess.Popen([sys.executable, "-P", "-c", code, server.address], stdout=subprocess.PIPE, text=True)
    threads = [threading.Thread(target=lambda: list(read_samples(load_index(server.address), "train"))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.communicate(timeout=900)[0].strip() == "10"
    assert [server.served[s.path] for s in folder.split("train").shards] == [1, 1]


def test_a_cached_tar_of_another_size_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    list(read_samples(load_index(server.address), "val"))
    (tar,) = (tmp_path / "cache").rglob("val-000000.tar")
    tar.write_bytes(b"cut off")
    assert len(list(read_samples(load_index(server.address), "val"))) == 5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("pipe:cat data/index.json", "scheme 'pipe'"),
        ("ftp://host/data", "scheme 'ftp'"),
        ("file:///etc", "scheme 'file'"),
        ("https://anna:hunter2@host/data", "contains credentials"),
    ],
)
def test_other_addresses_are_refused(place: str, message: str) -> None:
    assert is_address(place)
    with pytest.raises(ConfigError, match=message) as caught:
        load_index(place)
    assert "hunter2" not in str(caught.value)


def test_addresses_and_paths_are_told_apart() -> None:
    assert not any(map(is_address, ("data/demo", "/data", "C:\\data", "C:/data", "./s3", "a:b")))
    mangled = Path("s3://bucket/data")  # loses a slash
    assert is_address(mangled)
    assert str(Address.parse(mangled)) == str(Address.parse("s3://bucket/data/")) == "s3://bucket/data"
    assert Address.parse("gs://b/d").child("index.json") == "gs://b/d/index.json"
    assert Address.parse("https://h/d?sig=x").child("index.json") == "https://h/d/index.json?sig=x"


def test_every_scheme_opens_or_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    assert RemoteFolder(Address.parse("hf://datasets/a/b")).files.protocol == "hf"
    assert "s3" in fsspec.available_protocols()
    assert "gs" in fsspec.available_protocols()

    def missing(*args: object, **kwargs: object) -> None:
        raise ImportError("gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(ConfigError, match=r"pip install 'imu-video\[gcs\]'"):
        _ = RemoteFolder(Address.parse("gs://b/d")).files


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMU_VIDEO_CACHE_GB", "lots")
    with pytest.raises(ConfigError, match=r"\$IMU_VIDEO_CACHE_GB is 'lots'"):
        Cache()


def test_what_is_no_index_is_refused(server: Server, tmp_path: Path, folder: Index) -> None:
    (folder.root / "index.json").write_text("<html>not found</html>")
    with pytest.raises(ShardError, match="not readable as JSON"):
        load_index(server.address)
    (folder.root / "index.json").unlink()
    with pytest.raises(ShardError, match=r"index\.json: no such file"):
        load_index(server.address)


# ------------------------------------------------------------------------------------------------- whole folders


def test_a_whole_folder_is_fetched_and_verified(folder: Index, server: Server, tmp_path: Path) -> None:
    cache = embed(folder, {"name": "tiny", "dim": 8})
    (folder.root / "quality.json").write_text("{}")
    index = fetching.fetch(server.address, tmp_path / "copy")
    assert verify(index).problems == []
    for name in ("index.json", "build.yaml", "quality.json", f"teachers/{cache.fingerprint}/train.npy"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder.root / name).read_bytes()
    assert load_index(tmp_path / "copy").root == tmp_path / "copy"
    assert open_cache(index).splits == ["train", "val"]
    with pytest.raises(ConfigError, match="exists"):
        fetching.fetch(server.address, tmp_path / "copy")


def test_fetching_continues_where_it_was_stopped(folder: Index, server: Server, tmp_path: Path, logged: Any) -> None:
    server.faults["shards/val-000000.tar"] = ["500"] * 5
    with pytest.raises(ShardError, match="after 5 attempts"):
        fetching.fetch(server.address, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    fetching.fetch(server.address, tmp_path / "copy")
    assert server.served["shards/train-000000.tar"] == 1
    assert "2 of 3 shards" in logged.lines[0]
    assert logged.progress[-1][:2] == (3, 3)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("copy")] == ["copy"]


def test_an_index_cannot_lead_outside_the_folder(folder: Index, server: Server, tmp_path: Path) -> None:
    raw: dict[str, Any] = json.loads((folder.root / "index.json").read_text())
    raw["splits"]["val"]["shards"][0]["path"] = "shards/../../evil.tar"
    (folder.root / "index.json").write_text(json.dumps(raw))
    for load in (load_index, lambda place: fetching.fetch(place, tmp_path / "copy")):
        with pytest.raises(ImuVideoError, match="path': String should match"):
            load(server.address)
