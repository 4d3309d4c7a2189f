"""Downloads against a real server on this machine: resumed, verified, one clear error."""

import dataclasses
import gzip
import hashlib
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from refusals import refused

from softlabels.data import download as module
from softlabels.data.download import download
from softlabels.data.prepare import prepare
from softlabels.errors import DataError
from softlabels.grid.declared.datasets import DATASETS, RemoteFile
from softlabels.grid.spec import DatasetSpec

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


class Server:
    """Serves BODY at any path; `drops` connections are cut after `keep` bytes, `ranges` may be ignored."""

    def __init__(self):
        self.bodies: dict[str, bytes] = {}
        self.body, self.drops, self.keep, self.ranges, self.status = BODY, 0, 100_000, True, 200
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.requests.append((self.path, asked))
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and outer.ranges else 0
                body = outer.bodies.get(self.path, outer.body)
                if outer.status != 200 or start >= len(body):
                    self.send_error(outer.status if outer.status != 200 else 416)
                    return
                rest = body[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                if outer.drops:
                    outer.drops -= 1
                    self.wfile.write(rest[: outer.keep])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.wfile.write(rest)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/official"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def file_of(server):
    return RemoteFile("data.bin", f"{server.url}/data.bin", hashlib.sha256(BODY).hexdigest(), len(BODY), ())


def test_plain_download_then_nothing_more(server, tmp_path):
    assert download(file_of(server), tmp_path / "new").read_bytes() == BODY
    download(file_of(server), tmp_path / "new")
    assert server.requests == [("/official/data.bin", None)]
    assert not list((tmp_path / "new").glob("*.part"))


def test_mirror_replaces_the_official_folder(server, tmp_path):
    file = RemoteFile("data.bin", "http://127.0.0.1:9/x/data.bin", hashlib.sha256(BODY).hexdigest(), len(BODY), ())
    download(file, tmp_path, mirror=server.url.replace("official", "mirror/"))
    assert server.requests == [("/mirror/data.bin", None)]


def test_dropped_connections_are_resumed_where_they_stopped(server, tmp_path):
    server.drops = 2
    assert download(file_of(server), tmp_path, pause=0).read_bytes() == BODY
    assert [r for _, r in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_killed_download_is_resumed_by_the_next_run(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(BODY[:1234])
    assert download(file_of(server), tmp_path).read_bytes() == BODY
    assert server.requests == [("/official/data.bin", "bytes=1234-")]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "data.bin.part").write_bytes(BODY[:1234])
    assert download(file_of(server), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("left", [b"x" * 1234, b"x" * len(BODY), b"x" * (len(BODY) + 5)])
def test_a_wrong_part_is_thrown_away(left, server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(left)
    assert download(file_of(server), tmp_path, pause=0).read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[:-1] + b"!", BODY + BODY])
def test_wrong_checksum_is_refused_and_nothing_is_kept(body, server, tmp_path):
    server.body = body
    with refused(DataError, "data.bin", "sha256"):
        download(file_of(server), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".data.bin.lock"]


def test_a_shorter_file_is_an_error_that_says_what_to_do(server, tmp_path):
    server.body = BODY[:1000]
    with refused(DataError, "data.bin"):
        download(file_of(server), tmp_path, pause=0)
    assert not (tmp_path / "data.bin").exists()


def test_http_errors(server, tmp_path):
    server.status = 404
    with refused(DataError, "404"):
        download(file_of(server), tmp_path, pause=0)
    assert len(server.requests) == 1  # asking again will not help
    server.status = 503
    with refused(DataError, "503"):
        download(file_of(server), tmp_path, pause=0)
    assert len(server.requests) == 1 + module.ATTEMPTS


def test_offline_says_which_file_to_put_where(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = RemoteFile("data.bin", f"http://127.0.0.1:{port}/data.bin", "ab" * 32, 5, ())
    with refused(DataError, tmp_path / "data.bin", "5 bytes"):
        download(file, tmp_path)


def test_prepare_downloads_what_is_missing(server, tmp_path, monkeypatch):
    files = []
    for name, array in (
        ("train-images-idx3-ubyte", np.zeros((20, 28, 28))),
        ("train-labels-idx1-ubyte", np.arange(20) % 10),
        ("t10k-images-idx3-ubyte", np.zeros((10, 28, 28))),
        ("t10k-labels-idx1-ubyte", np.arange(10)),
    ):
        raw = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
        packed = gzip.compress(raw)
        server.bodies[f"/official/{name}.gz"] = packed
        digests = [hashlib.sha256(data).hexdigest() for data in (packed, raw)]
        url = f"{server.url}/{name}.gz"
        files.append(RemoteFile(f"{name}.gz", url, digests[0], len(packed), ((name, digests[1]),)))
    small = dataclasses.replace(DATASETS["mnist"], train_size=20, test_size=10, files=tuple(files))
    monkeypatch.setitem(DATASETS, "mnist", small)
    manifest = prepare(DatasetSpec("mnist"), tmp_path / "out", root=tmp_path / "root", download=True)
    assert manifest["sizes"] == {"train": 18, "val": 2, "test": 10}
    assert len(server.requests) == 4
    prepare(DatasetSpec("mnist", holdout=0), tmp_path / "other", root=tmp_path / "root", download=True)
    assert len(server.requests) == 4  # the files are kept
