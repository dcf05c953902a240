"""fetch: an http(s) URL -> a local file in torch hub's cache folder; downloaded once, resumed after a cut, checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

from ckpt_surgeon import disk
from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.fetch.http import Answer, ask, checked_url
from ckpt_surgeon.locks import FileLock
from ckpt_surgeon.output_file import OutputFile

__all__ = ["fetch"]

Progress = Callable[[int, int | None], None]

# A connection which breaks off is taken up again this often, as long as each attempt brings something.
_ATTEMPTS = 10
_READ_BYTES = 256 * 1024
# The note beside a part holds an address and an ETag or a date; anything longer isn't ours.
_MAX_NOTE_BYTES = 64 * 1024
# torch hub's own form, `resnet50-19c8e357.pth`: the first digits of the file's sha256. A date (`-20210604.`) is none.
_HASH = re.compile(r"-(?!(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9]\.)([0-9a-f]{8,64})\.")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=-]")
_MAX_NAME = 150


def fetch(url: str, *, progress: Progress | None = None) -> str:
    """The path of the file behind `url`, which is downloaded unless it is there already.

    progress: called with (bytes so far, bytes in all or None). A file whose name bears its hash stands where torch hub
    would put it; any other in a folder of its URL's own, for two repositories may call different files the same.
    Raises DiskError (address, network, server, disk) and CorruptError (the hash in the name is not the file's).
    """
    url = checked_url(url)
    path = _local_path(url)
    if os.path.isfile(path):
        return path
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise disk.disk_error(error, folder) from error
    with FileLock(f"{path}.lock", wait=True):
        if not os.path.isfile(path):
            _download(url, path, progress)
    return path


def _local_path(url: str) -> str:
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "torch")
    folder = os.path.join(os.path.expanduser(home), "hub", "checkpoints")
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    name = _UNSAFE.sub("_", name)[-_MAX_NAME:].lstrip(".") or "checkpoint"
    if _HASH.search(name):
        return os.path.join(folder, name)
    return os.path.join(folder, hashlib.sha256(url.encode()).hexdigest()[:16], name)


def _download(url: str, path: str, progress: Progress | None) -> None:
    """Fill `path.part`, check it, and give it its name."""
    part, note = f"{path}.part", f"{path}.part.json"
    with OutputFile(part, resume=True) as output:
        try:
            _fill(url, output, note, progress)
        except DiskError:
            if not output.position:
                _remove(part)
            raise
        output.sync()
    try:
        _check_hash(part, path)
        disk.system.rename(part, path)
    except CorruptError:
        _remove(part)
        raise
    except OSError as error:
        raise disk.disk_error(error, path) from error
    finally:
        _remove(note)
    disk.sync_folder(os.path.dirname(path))


def _fill(url: str, output: OutputFile, note: str, progress: Progress | None) -> None:
    """Append what is missing, over as many connections as it takes while each brings something."""
    for attempt in range(1, _ATTEMPTS + 1):
        before = output.position
        answer = ask(url, before, _read_note(note, url))
        with answer.body:
            if answer.start < before:
                output.restart()
                before = 0
            _write_note(note, url, answer.validator)
            missing = _append(answer, output, url, progress)
        if not missing:
            return
        if attempt == _ATTEMPTS or output.position == before:
            hint = "run it again; what came is kept and resumed where the server can"
            raise DiskError(f"the connection broke off after {output.position} bytes: {missing}", where=url, hint=hint)


def _append(answer: Answer, output: OutputFile, url: str, progress: Progress | None) -> str:
    """Append until the server ends; why the file is not complete, or an empty string.

    Raises DiskError when more bytes come than were announced.
    """
    while True:
        try:
            data = answer.body.read(_READ_BYTES)
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__
        if not data:
            is_whole = answer.total is None or output.position == answer.total
            return "" if is_whole else f"{answer.total} were announced"
        output.write(data)
        if answer.total is not None and output.position > answer.total:
            output.restart()
            raise DiskError(f"the server sends more than the {answer.total} bytes which it announced", where=url)
        if progress is not None:
            progress(output.position, answer.total)


def _check_hash(part: str, path: str) -> None:
    """CorruptError when the name bears a hash which is not the start of the file's sha256."""
    match = _HASH.search(os.path.basename(path))
    if match is None:
        return
    digest = hashlib.sha256()
    with InputFile(part) as file:
        for piece in disk.pieces(FileRange(file, 0, file.nbytes)):
            digest.update(piece)
    promised, found = match[1], digest.hexdigest()[: len(match[1])]
    if found != promised:
        what = f"the name promises a file whose sha256 starts with {promised}; that of the download starts with {found}"
        raise CorruptError(what, where=path, hint="the download was removed; try again, or ask the publisher")


def _read_note(note: str, url: str) -> str:
    """The validator of the part which lies here, if it is one of `url`; else an empty string."""
    try:
        with InputFile(note) as file:
            value = json.loads(file.read(0, file.nbytes)) if file.nbytes <= _MAX_NOTE_BYTES else None
    except (DiskError, ValueError, RecursionError):
        return ""
    if not isinstance(value, dict) or value.get("url") != url:
        return ""
    return str(value.get("validator", ""))


def _write_note(note: str, url: str, validator: str) -> None:
    with OutputFile(note, resume=True) as output:
        output.restart()
        output.write(json.dumps({"url": url, "validator": validator}).encode())


def _remove(path: str) -> None:
    with suppress(OSError):
        disk.system.unlink(path)
