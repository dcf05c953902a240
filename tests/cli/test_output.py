"""Streams which take nothing: what `put` says of them, and that nothing is left for the interpreter to stumble over."""

import io
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckpt_surgeon.cli.faults import guarded
from ckpt_surgeon.cli.output import PipeClosedError, claim_streams, put, settle_output
from ckpt_surgeon.errors import DiskError

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@contextmanager
def broken_pipe():
    """A text stream whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        yield stream


def test_a_result_is_written_at_once(tmp_path):
    with open(tmp_path / "out", "w", encoding="utf-8") as stream:
        put(stream, "result\n")
        assert (tmp_path / "out").read_text() == "result\n"


@pytest.mark.parametrize(("encoding", "written"), [("utf-8", "\u6743 \u00fc"), ("latin-1", "\\u6743 \u00fc"), ("ascii", "\\u6743 \\xfc")])
def test_what_an_encoding_lacks_is_escaped(encoding, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    put(stream, "\u6743 \u00fc")
    assert stream.buffer.getvalue().decode(encoding) == written


def test_half_a_character_is_escaped_too():
    stream = io.StringIO()
    put(stream, "a\ud800b")
    assert stream.getvalue() == "a\\ud800b"


def test_a_closed_stream_is_a_fault():
    with pytest.raises(DiskError, match="standard output: it is closed"):
        put(None, "result")


def test_a_reader_who_is_gone_is_no_fault_but_an_end():
    with broken_pipe() as stream:
        with pytest.raises(PipeClosedError):
            put(stream, "result")
        stream.flush()


@needs_full
def test_a_full_disk_is_a_fault_once():
    with open("/dev/full", "w", encoding="utf-8") as stream:
        with pytest.raises(DiskError, match="standard output: No space left"):
            put(stream, "result")
        stream.flush()


def test_a_result_larger_than_a_pipe_breaks_off_when_the_reader_goes():
    with broken_pipe() as stream, pytest.raises(PipeClosedError):
        put(stream, "x" * 10_000_000)


def test_settling_a_stream_which_took_everything_finds_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert settle_output() is None


def test_settling_without_a_stream_finds_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert settle_output() is None


@pytest.mark.parametrize(("code", "ended"), [(0, 141), (1, 141), (3, 3), (70, 70)])
def test_what_is_still_in_the_buffer_counts_unless_something_worse_happened(code, ended, monkeypatch):
    with broken_pipe() as stream:
        monkeypatch.setattr("sys.stdout", stream)

        def body():
            stream.write("half a result")
            return code

        assert guarded(body, debug=False) == ended
        stream.flush()


@needs_full
def test_a_buffer_which_finds_no_space_is_told(monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdout", stream)

        def body():
            stream.write("half a result")
            return 0

        assert guarded(body, debug=False) == 5
    assert "No space left" in capsys.readouterr().err


def test_open_streams_are_left_alone():
    before = [os.fstat(descriptor).st_ino for descriptor in range(3)]
    claim_streams()
    assert [os.fstat(descriptor).st_ino for descriptor in range(3)] == before
