"""fetch: every way a raw file can be had, and every way it can go wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from giellm_utils.data import fetch as sources
from giellm_utils.data.fetch import embedded, fetch, find, Resource, SourceError

CONTENT = "これは試験用の資料です。\n".encode() * 5000


class Server(ThreadingHTTPServer):
    """Serves `content` with Range support; `break_after` cuts every answer after so many bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.break_after, self.ranges = CONTENT, 0, True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        body, start = self.server.content, 0
        if self.path != "/file":
            self.send_error(404)
            return
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + self.server.break_after if self.server.break_after else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no local folder, and one resource called "sample"; returns its cache path."""
    monkeypatch.setenv("GIELLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GIELLM_DATA_DIR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    sample = Resource("sample", "sample/file.txt", "http://127.0.0.1:9/none",
                      hashlib.sha256(CONTENT).hexdigest(), "CC0", "nobody")
    monkeypatch.setitem(sources.RESOURCES, "sample", sample)
    return tmp_path / "cache" / "sources" / "sample" / "file.txt"


def part(target: Path) -> Path:
    return target.with_name("file.txt.part")


def test_download_then_cache(server: Server, world: Path) -> None:
    first = fetch("sample", url=server.url)
    assert (first.served_by, first.path) == ("download", world)
    assert world.read_bytes() == CONTENT and not part(world).exists()
    assert fetch("sample", url=server.url).served_by == "cache"
    assert len(server.asked) == 1


def test_half_file_is_continued(server: Server, world: Path) -> None:
    world.parent.mkdir(parents=True)
    part(world).write_bytes(CONTENT[:777])
    fetch("sample", url=server.url)
    assert server.asked == ["bytes=777-"]
    assert world.read_bytes() == CONTENT


def test_whole_part_is_taken_without_a_byte(server: Server, world: Path) -> None:
    world.parent.mkdir(parents=True)
    part(world).write_bytes(CONTENT)
    fetch("sample", url=server.url)
    assert world.read_bytes() == CONTENT


def test_server_without_ranges_starts_over(server: Server, world: Path) -> None:
    server.ranges = False
    world.parent.mkdir(parents=True)
    part(world).write_bytes(b"old beginning")
    fetch("sample", url=server.url)
    assert world.read_bytes() == CONTENT


def test_broken_connections_are_taken_up_again(server: Server, world: Path) -> None:
    server.break_after = len(CONTENT) // 3 + 1
    fetch("sample", url=server.url)
    assert len(server.asked) == 4 and world.read_bytes() == CONTENT


def test_what_came_is_kept_when_the_connection_stays_broken(server: Server, world: Path) -> None:
    server.break_after = 10_000
    with pytest.raises(SourceError, match=r"32,768 bytes are kept.*GIELLM_DATA_DIR"):
        fetch("sample", url=server.url)
    assert part(world).read_bytes() == CONTENT[:32768] and not world.exists()
    server.break_after = 0
    assert fetch("sample", url=server.url).path.read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server: Server, world: Path) -> None:
    server.content = CONTENT + b"!"
    with pytest.raises(SourceError) as caught:
        fetch("sample", url=server.url)
    for hash_ in (hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(CONTENT + b"!").hexdigest()):
        assert hash_ in str(caught.value)
    assert not world.exists() and not part(world).exists()


def test_broken_cache_is_fetched_again(server: Server, world: Path) -> None:
    world.parent.mkdir(parents=True)
    world.write_bytes(CONTENT[:50])
    assert fetch("sample", url=server.url).served_by == "download"
    assert world.read_bytes() == CONTENT


def test_dead_server_says_what_to_do(server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError, match=r"sample cannot be downloaded.*sample/file\.txt.*GIELLM_DATA_DIR"):
        fetch("sample", url=url)


def test_missing_page(server: Server) -> None:
    with pytest.raises(SourceError, match="answers 404"):
        fetch("sample", url=server.url + "/gone")


def test_local_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIELLM_DATA_DIR", str(tmp_path))
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "file.txt").write_bytes(CONTENT)
    located = fetch("sample")
    assert (located.served_by, located.path) == ("local", tmp_path / "sample" / "file.txt")


def test_local_file_with_another_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIELLM_DATA_DIR", str(tmp_path))
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "file.txt").write_bytes(b"other")
    with pytest.raises(SourceError) as caught:
        fetch("sample")
    message = str(caught.value)
    assert "file.txt" in message and "unset" in message
    assert hashlib.sha256(b"other").hexdigest() in message and hashlib.sha256(CONTENT).hexdigest() in message


def test_local_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIELLM_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="GIELLM_DATA_DIR is .*nowhere"):
        fetch("sample")


def test_find_looks_where_fetch_does_and_loads_nothing_down(
        server: Server, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("sample") is None and server.asked == []
    fetch("sample", url=server.url)
    assert find("sample") == world
    monkeypatch.setenv("GIELLM_DATA_DIR", str(tmp_path))
    assert find("sample") == world
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "file.txt").write_bytes(b"unchecked")
    assert find("sample") == tmp_path / "sample" / "file.txt"
    with pytest.raises(SourceError, match="known resources"):
        find("nothing")


def test_two_downloads_at_once_send_one_request(server: Server) -> None:
    served: list[str] = []
    threads = [threading.Thread(target=lambda: served.append(fetch("sample", url=server.url).served_by))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(served) == ["cache", "cache", "cache", "download"] and len(server.asked) == 1


def test_unknown_names() -> None:
    with pytest.raises(SourceError, match="known resources: stockmark"):
        fetch("nothing")
    with pytest.raises(SourceError, match="lacks mini/nothing.tsv"):
        embedded("mini/nothing.tsv")
    assert embedded("mini/scnm.tsv").is_file()


def test_pinned_resources_are_pinned() -> None:
    for resource in (sources.RESOURCES[n] for n in ("stockmark", "jrte", "lexicon-nouns")):
        assert len(resource.sha256) == 64 and resource.url.startswith("http") and resource.licence
