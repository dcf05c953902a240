"""fetch against a real server on this machine: once, resumed, checked, and to http(s) only."""

import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.fetch import fetch

DATA = bytes(range(256)) * 4000
HASHED = f"resnet-{hashlib.sha256(DATA).hexdigest()[:8]}.pth"


@dataclass
class Site:
    """What the server holds and how it behaves; `asked`: the path and Range header of each request."""

    url: str = ""
    data: bytes = DATA
    etag: str = '"one"'
    date: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    takes_ranges: bool = True
    tells_length: bool = True
    cuts: list[int] = field(default_factory=list)
    resets: int = 0
    redirects: dict[str, str] = field(default_factory=dict)
    partial: Callable[[str], str] = field(default=str)
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.server.site
        wanted = self.headers.get("Range", "")
        site.asked.append((self.path, wanted))
        if self.path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[self.path])
            self.end_headers()
            return
        if site.status != 200:
            self.send_error(site.status)
            return
        start = int(wanted[6:-1]) if wanted and site.takes_ranges and self.headers.get("If-Range") in (site.etag, site.date) else 0
        if start >= len(site.data) > 0:
            self.send_error(416)
            return
        body = site.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", site.partial(f"bytes {start}-{len(site.data) - 1}/{len(site.data)}"))
        if site.tells_length:
            self.send_header("Content-Length", str(len(body)))
        for name, text in {"ETag": site.etag, "Last-Modified": site.date, **site.headers}.items():
            if text:
                self.send_header(name, text)
        self.end_headers()
        if site.resets:
            site.resets -= 1
            self.wfile.write(body[:300_000])
            self.wfile.flush()
            time.sleep(0.1)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        with suppress(ConnectionError):  # the client may have gone
            self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)
        self.close_connection = True


@pytest.fixture
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.site = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def names_below(folder):
    return sorted(name for _, _, names in os.walk(folder) for name in names)


def bytes_of(path):
    with disk.InputFile(path) as file:
        return file.read(0, file.nbytes)


def test_a_file_is_fetched_once(site, cache):
    path = fetch(f"{site.url}/models/{HASHED}?download=true#table")
    assert path == str(cache / HASHED)
    assert bytes_of(path) == DATA
    assert fetch(f"{site.url}/models/{HASHED}") == path
    assert site.asked == [(f"/models/{HASHED}?download=true", "")]
    assert names_below(cache) == [HASHED]


def test_the_place_is_the_one_of_torch_hub(site, monkeypatch, tmp_path):
    import torch.hub

    assert os.path.dirname(fetch(f"{site.url}/{HASHED}")) == os.path.join(torch.hub.get_dir(), "checkpoints")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert os.path.dirname(fetch(f"{site.url}/{HASHED}")) == os.path.join(torch.hub.get_dir(), "checkpoints")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert os.path.dirname(fetch(f"{site.url}/{HASHED}")) == os.path.join(torch.hub.get_dir(), "checkpoints")


def test_files_of_one_name_from_two_places_are_two_files(site):
    first, second = fetch(f"{site.url}/a/pytorch_model.bin"), fetch(f"{site.url}/b/pytorch_model.bin")
    assert first != second
    assert {os.path.basename(path) for path in (first, second)} == {"pytorch_model.bin"}
    assert fetch(f"{site.url}/a/pytorch_model.bin") == first
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b.pth", "b.pth"),
        ("/", "checkpoint"),
        ("/a%2Fb%2F..%2F.hidden", "hidden"),
        ("/%2e%2e", "checkpoint"),
        ("/a%00b%20c%5Cd.pt", "a_b_c_d.pt"),
        ("/" + "x" * 300 + ".pt", "x" * 147 + ".pt"),
    ],
)
def test_a_file_name_from_an_address_is_made_safe(site, cache, path, name):
    found = fetch(site.url + path)
    assert os.path.basename(found) == name
    assert os.path.realpath(found).startswith(os.path.realpath(cache))


def test_progress_is_told_in_bytes(site):
    told = []
    fetch(f"{site.url}/x.pt", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_without_a_length_the_total_is_unknown(site):
    site.tells_length = False
    told = []
    path = fetch(f"{site.url}/x.pt", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(DATA), None)
    assert bytes_of(path) == DATA


@pytest.mark.parametrize("validator", ["etag", "date"])
def test_a_connection_which_breaks_off_is_taken_up_where_it_ended(site, cache, validator):
    site.cuts = [300_000, 400_000]
    if validator == "date":
        site.etag, site.date = "", "Mon, 01 Jan 2024 00:00:00 GMT"
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert [wanted for _, wanted in site.asked] == ["", "bytes=300000-", "bytes=700000-"]
    assert names_below(cache) == [HASHED]


@pytest.mark.parametrize("why", ["the server knows no ranges", "nothing tells the version", "a weak tag tells too little"])
def test_where_the_rest_cannot_be_had_the_whole_is(site, why):
    site.cuts = [300_000]
    site.takes_ranges = why != "the server knows no ranges"
    site.etag = {"nothing tells the version": "", "a weak tag tells too little": 'W/"one"'}.get(why, site.etag)
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert len(site.asked) == 2


def cut_run(site, url):
    """A run which gives up: the server cuts every answer, and from the second on sends nothing."""
    site.cuts = [300_000, 0]
    with pytest.raises(DiskError, match="broke off after 300000 bytes") as caught:
        fetch(url)
    assert url in str(caught.value)
    assert "resumed" in caught.value.hint
    site.asked.clear()
    site.cuts.clear()


def test_a_later_run_resumes_what_one_before_left(site, cache):
    cut_run(site, f"{site.url}/{HASHED}")
    assert names_below(cache) == [f"{HASHED}.part", f"{HASHED}.part.json"]
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert [wanted for _, wanted in site.asked] == ["bytes=300000-"]
    assert names_below(cache) == [HASHED]


def test_a_part_of_another_version_is_thrown_away(site):
    url = f"{site.url}/x.pt"
    cut_run(site, url)
    site.etag, site.data = '"two"', b"new" * 1000
    assert bytes_of(fetch(url)) == b"new" * 1000


def test_a_part_of_another_address_is_thrown_away(site):
    cut_run(site, f"{site.url}/a/{HASHED}")
    assert bytes_of(fetch(f"{site.url}/b/{HASHED}")) == DATA
    assert site.asked == [(f"/b/{HASHED}", "")]


@pytest.mark.parametrize("note", [b"", b"nonsense", b"[]", b'{"url": 1}', b"[" * 100_000, b"\xff"])
def test_a_part_with_a_note_which_says_nothing_is_thrown_away(site, cache, note):
    cut_run(site, f"{site.url}/{HASHED}")
    (cache / f"{HASHED}.part.json").write_bytes(note)
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert site.asked == [(f"/{HASHED}", "")]


def test_a_part_longer_than_the_file_is_thrown_away(site, cache):
    cut_run(site, f"{site.url}/{HASHED}")
    with open(cache / f"{HASHED}.part", "ab") as file:
        file.write(bytes(len(DATA)))
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert len(site.asked) == 2


@pytest.mark.parametrize("wrong", ["bytes 0-9/10", "nonsense", "", "bytes 300001-1023999/1024000"])
def test_another_part_than_the_one_asked_for_is_refused(site, wrong):
    site.cuts, site.partial = [300_000], lambda _: wrong
    with pytest.raises(DiskError, match="another part"):
        fetch(f"{site.url}/x.pt")


def test_a_file_whose_name_bears_another_hash_is_removed(site, cache):
    with pytest.raises(CorruptError, match="sha256 starts with 00000000") as caught:
        fetch(f"{site.url}/resnet-00000000.pth")
    assert caught.value.exit_code == 3
    assert names_below(cache) == []


@pytest.mark.parametrize("name", ["resnet-20210604.pth", "resnet-abc.pth", "resnet-00000000", "a-b-c.pt"])
def test_what_is_no_hash_is_not_checked(site, name):
    assert bytes_of(fetch(f"{site.url}/{name}")) == DATA


def test_a_longer_hash_is_checked_whole(site):
    whole = hashlib.sha256(DATA).hexdigest()
    assert bytes_of(fetch(f"{site.url}/x-{whole}.pt")) == DATA
    with pytest.raises(CorruptError):
        fetch(f"{site.url}/x-{whole[:-1]}{'0' if whole[-1] != '0' else '1'}.pt")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_an_error_of_the_server_names_address_and_status(site, cache, status):
    site.status = status
    with pytest.raises(DiskError, match=f"/x.pt: the server answers {status}") as caught:
        fetch(f"{site.url}/x.pt")
    assert caught.value.exit_code == 5
    assert names_below(cache) == []


@pytest.mark.parametrize(
    ("headers", "message"),
    [({"Content-Type": "text/html; charset=utf-8"}, "an HTML page"), ({"Content-Encoding": "gzip"}, "packed as gzip")],
)
def test_an_answer_which_is_not_the_file_is_refused(site, headers, message):
    site.headers = headers
    with pytest.raises(DiskError, match=message):
        fetch(f"{site.url}/x.pt")


def test_an_empty_file_is_a_file(site):
    site.data = b""
    assert bytes_of(fetch(f"{site.url}/x.pt")) == b""


def test_nobody_there_is_an_error_which_names_the_address(site):
    with pytest.raises(DiskError, match="no answer") as caught:
        fetch("http://127.0.0.1:1/x.pt")
    assert "127.0.0.1:1" in str(caught.value)
    assert "network" in caught.value.hint


def test_a_redirect_is_followed(site):
    site.redirects = {"/x.pt": f"{site.url}/y.pt"}
    path = fetch(f"{site.url}/x.pt")
    assert (os.path.basename(path), bytes_of(path)) == ("x.pt", DATA)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://["])
def test_a_redirect_to_anything_but_http_is_refused(site, cache, target):
    site.redirects = {"/x.pt": target}
    with pytest.raises(DiskError):
        fetch(f"{site.url}/x.pt")
    assert "x.pt" not in names_below(cache)


def test_redirects_in_a_circle_end(site):
    site.redirects = {"/x.pt": "/x.pt"}
    with pytest.raises(DiskError, match="302"):
        fetch(f"{site.url}/x.pt")
    assert len(site.asked) < 20


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "x.pt", "http://", "http:///x", "http://[", "http://a b/c", "http://a\nb/c", "http://ü/x"]
)
def test_what_is_no_http_address_is_refused(url, cache):
    with pytest.raises(DiskError, match="no http or https address"):
        fetch(url)
    assert not cache.exists()


def test_a_cache_which_cannot_be_made_is_a_disk_error(site, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(DiskError, match="Not a directory"):
        fetch(f"{site.url}/x.pt")


def test_several_at_once_download_once(site):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(f"{site.url}/x.pt"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(site.asked) == 1


def test_several_processes_at_once_download_once(site):
    script = "import sys; from ckpt_surgeon.fetch import fetch; print(fetch(sys.argv[1])); assert 'torch' not in sys.modules"
    runs = [subprocess.Popen([sys.executable, "-c", script, f"{site.url}/x.pt"], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {run.communicate(timeout=60)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(found) == 1
    assert len(site.asked) == 1


def test_an_interrupted_download_leaves_a_part_and_no_lock(site, cache):
    def interrupt(done, total):
        raise SystemExit

    with pytest.raises(SystemExit):
        fetch(f"{site.url}/{HASHED}", progress=interrupt)
    assert names_below(cache) == [f"{HASHED}.part", f"{HASHED}.part.json"]
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA


def test_a_full_disk_is_a_disk_error_and_leaves_no_file(site, cache, monkeypatch):
    class Full(type(disk.system)):
        def write(self, descriptor, data):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "system", Full())
        with pytest.raises(DiskError, match="No space left"):
            fetch(f"{site.url}/{HASHED}")
    assert HASHED not in names_below(cache)
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA


def test_a_server_which_sends_more_than_it_announced_is_refused(site, cache):
    site.cuts, site.partial = [300_000], lambda _: "bytes 300000-300009/300010"
    with pytest.raises(DiskError, match="more than the 300010 bytes"):
        fetch(f"{site.url}/{HASHED}")
    assert HASHED not in names_below(cache)
    site.partial = str
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA


def test_a_connection_which_is_reset_is_taken_up_again(site):
    site.resets = 1
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA
    assert len(site.asked) == 2


def test_a_range_asked_for_and_refused_for_another_reason_is_an_error(site):
    cut_run(site, f"{site.url}/{HASHED}")
    site.status = 503
    with pytest.raises(DiskError, match="answers 503"):
        fetch(f"{site.url}/{HASHED}")
    site.status = 200
    assert bytes_of(fetch(f"{site.url}/{HASHED}")) == DATA


def test_a_file_which_cannot_take_its_name_is_a_disk_error(site, cache, monkeypatch):
    class Stuck(type(disk.system)):
        def rename(self, source, target):
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "system", Stuck())
        with pytest.raises(DiskError, match=f"{HASHED}: Input/output error"):
            fetch(f"{site.url}/{HASHED}")
    assert HASHED not in names_below(cache)


@pytest.mark.parametrize("lines", [b"", b"not http\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n"])
def test_an_answer_which_is_no_http_is_a_disk_error(lines):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(lines)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DiskError, match="no answer"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/x.pt")
        thread.join()
