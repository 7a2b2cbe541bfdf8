"""Servers that send without an end, a byte at a time, compressed zeros, or another address; real connections."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ShardError
from imu_video.runtime.files import temporary_path
from imu_video.shards.reading.index import load_index
from imu_video.shards.remote import Address, Cache, OutOfReach, RemoteFolder
from imu_video.shards.transfer import Oversized, TooSlow, transfer

pytest.importorskip("aiohttp", reason="http addresses need the extra 'http'")
Answer = Callable[[BaseHTTPRequestHandler], None]


class Hostile:
    """An HTTP server whose answers are functions, by the path that is asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                with contextlib.suppress(OSError):  # the client went away, which is what these tests are about
                    outer.answers.get(self.path.lstrip("/"), lambda request: request.send_error(404))(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def remote(self, tmp_path: Path, **options: Any) -> RemoteFolder:
        return RemoteFolder(Address.parse(self.address), Cache(tmp_path / "cache"), attempts=2, **options)

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setattr("imu_video.shards.remote._pause", lambda seconds: None)
    running = Hostile()
    yield running
    running.close()


def head(request: BaseHTTPRequestHandler, status: int = 200, **headers: object) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()


def endless(request: BaseHTTPRequestHandler) -> None:
    head(request)
    while True:
        request.wfile.write(b"[" * 65536)


def announced(request: BaseHTTPRequestHandler) -> None:
    head(request, Content_Length=10**12)
    while True:
        request.wfile.write(bytes(65536))


def bomb(request: BaseHTTPRequestHandler) -> None:
    content = gzip.compress(bytes(2**23))
    head(request, Content_Encoding="gzip", Content_Length=len(content))
    request.wfile.write(content)


@pytest.mark.parametrize("answer", [endless, announced, bomb])
def test_more_than_a_file_may_have_is_not_stored(answer: Answer, hostile: Hostile, tmp_path: Path) -> None:
    asked = []

    def counted(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.command)
        answer(request)

    hostile.answers["build.yaml"] = counted
    with pytest.raises(OutOfReach, match=r"build\.yaml: more than 1000000 bytes received"):
        hostile.remote(tmp_path).fetch("build.yaml", tmp_path / "build.yaml", limit=1_000_000)
    assert not list(tmp_path.iterdir())
    assert asked.count("GET") == 1  # a further attempt would be as large


def test_a_file_of_known_size_ends_where_it_should(hostile: Hostile, tmp_path: Path) -> None:
    hostile.answers["a.tar"] = endless
    with pytest.raises(OutOfReach, match="more than 5000 bytes received"):
        hostile.remote(tmp_path).local("a.tar", tmp_path / "cache", size=5000)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_every_kind_of_file_has_a_limit(hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("index.json", "quality.json", "weights.safetensors", "columns/train/imu.npy", "teachers/"):
        hostile.answers[name] = endless
    for limit in ("INDEX_LIMIT", "JSON_LIMIT", "WEIGHTS_LIMIT", "LIST_LIMIT"):
        monkeypatch.setattr(f"imu_video.shards.remote.{limit}", 100_000)
    monkeypatch.setenv("IMU_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("imu_video.shards.remote.ATTEMPTS", 1)
    with pytest.raises(OutOfReach, match="more than 100000 bytes received"):
        load_index(hostile.address)
    remote = RemoteFolder(Address.parse(hostile.address), Cache(tmp_path / "cache", size=200_000), attempts=1)
    for name, size in (("quality.json", 100_000), ("weights.safetensors", 100_000), ("columns/train/imu.npy", 200_000)):
        with pytest.raises(OutOfReach, match=f"more than {size} bytes received"):
            remote.fetch(name, tmp_path / "x")
    assert remote.names("teachers") == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_page_of_names_is_read_and_bounded(hostile: Hostile, tmp_path: Path) -> None:
    links = [
        '<a href="abc">',
        "<A class=x HREF='/data/teachers/def/?C=M'>",
        '<a href="../">',
        '<a href=".git">',
        '<a href="x y">',
    ]

    def page(request: BaseHTTPRequestHandler) -> None:
        head(request)
        request.wfile.write("".join(links).encode())

    hostile.answers["teachers/"] = page
    assert hostile.remote(tmp_path).names("teachers") == ["abc", "def"]
    links.extend(f'<a href="n{number}">' for number in range(1000))
    with pytest.raises(ShardError, match="1002 entries, expected at most 1000"):
        hostile.remote(tmp_path).names("teachers")


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_byte_now_and_then_is_too_slow(where: str, hostile: Hostile, tmp_path: Path) -> None:
    """The pauses are far below the time-out, so that only the rate can end it; a slower machine makes it slower."""

    def dribble(request: BaseHTTPRequestHandler) -> None:
        if where == "body":
            head(request)
        else:
            request.send_response(200)
            request.flush_headers()
            request.wfile.write(b"X-Long: ")
        while not hostile.closing.wait(0.02):
            request.wfile.write(b"a")
            request.wfile.flush()

    hostile.answers["index.json"] = dribble
    remote = hostile.remote(tmp_path, timeout_s=0.2, min_rate=1000)
    # A server that is too slow is asked twice, one that breaks off or is silent as often as any other.
    # A loaded machine may miss the pauses of the server, too: then no byte came in time, which ends it all the same.
    with pytest.raises(OutOfReach, match=r"fewer than 1000 bytes per second for 0\.4 s|no byte within 0\.2 s"):
        remote.fetch("index.json", tmp_path / "index.json")
    assert not list(tmp_path.iterdir())


def test_a_slow_server_that_keeps_the_rate_is_waited_for(hostile: Hostile, tmp_path: Path) -> None:
    """There is no limit on the whole time."""

    def steady(request: BaseHTTPRequestHandler) -> None:
        head(request, Content_Length=20 * 100)
        for _ in range(20):
            request.wfile.write(b"a" * 100)
            request.wfile.flush()
            hostile.closing.wait(0.01)

    hostile.answers["a.tar"] = steady
    # The time-out is generous and the rate tiny, so that a loaded machine keeps both.
    hostile.remote(tmp_path, timeout_s=20, min_rate=0.001).fetch("a.tar", tmp_path / "a.tar", size=2000)
    assert (tmp_path / "a.tar").read_bytes() == b"a" * 2000


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("http://localhost:{port}/ok?token=s3cret", "http://localhost:{port}"),
        ("http://anna:s3cret@localhost/ok", "http://localhost"),
        ("http://127.0.0.1:1/ok", "http://127.0.0.1:1"),
        ("//169.254.169.254/latest/meta-data", "http://169.254.169.254"),
        ("file:///etc/passwd", "file://"),
        ("ftp://127.0.0.1/ok", "ftp://127.0.0.1"),
        ("http://[", "an address that cannot be read"),
    ],
)
def test_redirects_to_others_are_refused(place: str, shown: str, hostile: Hostile, tmp_path: Path) -> None:
    place, shown = place.format(port=hostile.port), shown.format(port=hostile.port)
    hostile.answers["ok"] = lambda request: request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nstolen")
    hostile.answers["a.tar"] = lambda request: head(request, 302, Location=place)
    with pytest.raises(ShardError) as caught:
        hostile.remote(tmp_path).fetch("a.tar", tmp_path / "a.tar")
    assert f"the server redirects to {shown}, which is refused" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert hostile.asked == ["/a.tar"], "asked once, and nobody else"
    assert not list(tmp_path.iterdir())


def test_redirects_on_the_same_server_and_to_named_hosts_are_followed(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.answers["ok"] = lambda request: request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\ncontent")
    hostile.answers["a.tar"] = lambda request: head(request, 301, Location="/ok")
    hostile.remote(tmp_path).fetch("a.tar", tmp_path / "a.tar")
    hostile.answers["b.tar"] = lambda request: head(request, 307, Location=f"http://localhost:{hostile.port}/ok")
    monkeypatch.setenv("IMU_VIDEO_REMOTE_REDIRECTS", "cdn.example.org, localhost")
    hostile.remote(tmp_path).fetch("b.tar", tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes() == b"content"


class Plain:
    """A file system that is not asynchronous, as that of the hub."""

    async_impl = False

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def get_file(self, address: str, target: str, *, callback: Any) -> None:
        with open(target, "wb") as file:
            for piece in self.pieces:
                file.write(piece)
                callback.relative_update(len(piece))


def test_file_systems_without_coroutines_are_bounded_as_well(tmp_path: Path) -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield b"a"

    bounds = {"window_s": 0.1, "min_rate": 1.0}
    transfer(Plain(iter([b"ab", b"c"])), "hf://a", tmp_path / "a", limit=3, **bounds)  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(Oversized):
        transfer(Plain(forever()), "hf://a", tmp_path / "a", limit=1000, **bounds)  # type: ignore[arg-type]
    with pytest.raises(TooSlow):
        transfer(Plain(forever()), "hf://a", tmp_path / "a", limit=10**9, window_s=0.1, min_rate=1e12)


# ---------------------------------------------------------------------------------------------------------- the cache


def test_files_that_are_being_written_count_and_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, size=1000, in_use_s=0)
    old = tmp_path / "old.tar"
    old.write_bytes(bytes(300))
    writing = temporary_path(tmp_path / "data" / "columns")
    writing.mkdir(parents=True)
    (writing / "imu.npy").write_bytes(bytes(500))
    os.utime(writing / "imu.npy", (0, 0))
    cache.make_room(200)
    assert old.exists(), "300 + 500 + 200"

    def fetch(target: Path) -> None:
        assert not old.exists(), "no room for 300 + 500 + 400"
        part = temporary_path(target)
        part.write_bytes(bytes(100))
        second = tmp_path / "second.tar"
        second.write_bytes(bytes(101))
        Cache(tmp_path, size=1000, in_use_s=0).make_room(0)
        assert not second.exists(), "500 + 400 that were promised to the other file + 101, while 100 of it are there"
        part.rename(target)

    cache.get(tmp_path / "new.tar", 400, fetch)
    assert (writing / "imu.npy").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["data", "new.tar"]


def test_what_a_killed_process_left_does_not_fill_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imu_video.runtime.owners.runs", lambda name: False)
    left = temporary_path(tmp_path / "a.tar")
    left.write_bytes(bytes(900))
    claim = temporary_path(tmp_path / "a.tar.10000.room")
    claim.touch()
    kept = tmp_path / "kept.tar"
    kept.write_bytes(bytes(500))
    Cache(tmp_path, size=1000, in_use_s=0).make_room(500)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["kept.tar"]
