"""A data folder in an S3 bucket, read through the S3 protocol from a server that the test starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ShardError
from imu_video.shards.features.embed import embed
from imu_video.shards.folders.fetch import fetch
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index

pytest.importorskip("s3fs", reason="s3 addresses need the extra 's3'")
moto = pytest.importorskip("moto.server", reason="the S3 server of this test is the package moto[server]")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(folder: Index, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The small folder with features and columns as s3://lab/data; credentials come from the environment."""
    import boto3

    embed(folder, {"name": "tiny", "dim": 8})
    open_columns(folder, "train")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("IMU_VIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("imu_video.shards.remote._pause", lambda seconds: None)
    client = boto3.client("s3")
    client.create_bucket(Bucket="lab")
    for path in sorted(p for p in folder.root.rglob("*") if p.is_file()):
        client.put_object(Bucket="lab", Key=f"data/{path.relative_to(folder.root)}", Body=path.read_bytes())
    yield client
    for entry in client.list_objects_v2(Bucket="lab").get("Contents", []):
        client.delete_object(Bucket="lab", Key=entry["Key"])
    client.delete_bucket(Bucket="lab")


def test_a_bucket_reads_like_the_local_folder(folder: Index, bucket: Any, tmp_path: Path) -> None:
    index = load_index("s3://lab/data")
    assert index.model_dump() == folder.model_dump()
    for split in folder.splits:
        for ours, theirs in zip(read_samples(index, split), read_samples(folder, split), strict=True):
            assert (ours.key, ours.meta, ours.streams.get("video")) == (
                theirs.key,
                theirs.meta,
                theirs.streams.get("video"),
            )
    np.testing.assert_array_equal(open_columns(index, "train").imu, open_columns(folder, "train").imu)
    np.testing.assert_array_equal(open_cache(index).rows("val"), open_cache(folder).rows("val"))
    assert verify(index).problems == []
    copy = fetch("s3://lab/data", tmp_path / "copy")
    assert verify(copy).problems == []
    assert open_cache(copy).splits == ["train", "val"]
    kept = b"".join(p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert b"very-s3cret" not in kept


def test_what_is_missing_damaged_or_not_allowed_is_named(
    bucket: Any, folder: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ShardError, match=r"s3://lab/nothing/index\.json: no such file"):
        load_index("s3://lab/nothing")
    tar = folder.root / "shards" / "val-000000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    bucket.put_object(Bucket="lab", Key="data/shards/val-000000.tar", Body=bytes(content))
    with pytest.raises(ShardError, match=r"val-000000\.tar: sha256 .*, after 5 attempts"):
        list(read_samples(load_index("s3://lab/data"), "val"))
    bucket.delete_object(Bucket="lab", Key="data/shards/val-000000.tar")
    with pytest.raises(ShardError, match=r"val-000000\.tar: no such file"):
        list(read_samples(load_index("s3://lab/data"), "val"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ShardError, match="after 5 attempts") as caught:
        load_index("s3://lab/data")
    assert "very-s3cret" not in str(caught.value)
