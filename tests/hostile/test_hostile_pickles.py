"""Pickles which would run code, wherever they stand: nothing runs, nothing is imported, what cannot be kept is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import assert_described, assert_refused, contents, invoke
from hostile_files import beside, mapping, older, tensor, text, whole, zipped
from hostile_pickles import CANARY_MODULE, PAYLOADS, PLACES, STREAM_PLACES, attack

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import SurgeryError

FIRE = """
import copyreg, io, pathlib, pickle, sys
import torch

class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid):
        return torch.FloatStorage(6)

copyreg.add_extension("os", "system", 0xE9)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pkl")):
    data = path.read_bytes()
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            Unpickler(stream).load()
    except Exception:
        pass
"""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path which every payload would create, out of the folder of the checkpoint."""
    home = tmp_path / "lib"
    home.mkdir()
    (home / "canary_module.py").write_text(CANARY_MODULE)
    monkeypatch.syspath_prepend(str(home))
    path = tmp_path / "canary"
    yield str(path)
    assert not path.exists()
    assert "canary_module" not in sys.modules


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source" / "model.pt"


def judge(path: Path, error: type[SurgeryError] | None) -> None:
    """Refused with that class; or described, and then never run by a conversion either."""
    if error is not None:
        assert_refused(path, error)
        return
    header = assert_described(path)
    assert header.tensors
    outputs = path.parent.parent / "outputs"
    outputs.mkdir()
    for name in ("kept.pt", "bare.safetensors"):
        result = invoke("remap", str(path), "-o", str(outputs / name), "--bare" if name.startswith("bare") else "-v")
        assert result.exit_code in (0, 1, 3), result.output
        assert (outputs / name).exists() == (result.exit_code == 0)
        assert "Traceback" not in result.output
    surgeon.diff(path, path)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_beside_the_weights_never_runs(checkpoint: Path, canary: str, name: str) -> None:
    checkpoint.write_bytes(zipped(beside(PAYLOADS[name].make(canary))))
    judge(checkpoint, PAYLOADS[name].error)


@pytest.mark.parametrize("place", PLACES)
def test_a_payload_in_any_place_never_runs(checkpoint: Path, canary: str, place: str) -> None:
    put, error = PLACES[place]
    checkpoint.write_bytes(zipped(put(attack(canary))))
    judge(checkpoint, error)


@pytest.mark.parametrize("place", STREAM_PLACES)
def test_a_payload_in_any_pickle_of_the_older_stream_never_runs(checkpoint: Path, canary: str, place: str) -> None:
    part, put, error = STREAM_PLACES[place]
    checkpoint.write_bytes(older(**{part: put(attack(canary))}))
    judge(checkpoint, error)


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_of_any_protocol_never_runs(checkpoint: Path, canary: str, protocol: int) -> None:
    data = whole(beside(attack(canary)), protocol)
    checkpoint.write_bytes(zipped(b"", **{"data.pkl": data[2:] if protocol < 2 else data}))
    judge(checkpoint, None)


def test_each_payload_would_run_in_the_standard_unpickler(tmp_path: Path) -> None:
    """The cases above prove something only while what they hold is live."""
    (tmp_path / "canary_module.py").write_text(CANARY_MODULE)
    live = {name: PAYLOADS[name].make for name in PAYLOADS if PAYLOADS[name].fires}
    for index, make in enumerate(live.values()):
        (tmp_path / f"{index:03}.pkl").write_bytes(whole(make(str(tmp_path / f"{index:03}.fired"))))
    places = {f"place: {name}": put for name, (put, _) in PLACES.items()}
    for index, put in enumerate(places.values(), start=len(live)):
        (tmp_path / f"{index:03}.pkl").write_bytes(whole(put(attack(str(tmp_path / f"{index:03}.fired")))))
    streams = {f"stream: {name}": (part, put) for name, (part, put, _) in STREAM_PLACES.items()}
    for index, (part, put) in enumerate(streams.values(), start=len(live) + len(places)):
        data = older(**{part: put(attack(str(tmp_path / f"{index:03}.fired")))}, tail=b"")
        (tmp_path / f"{index:03}.pkl").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRE, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    names = [*live, *places, *streams]
    silent = [names[index] for index in range(len(names)) if not (tmp_path / f"{index:03}.fired").exists()]
    assert (silent, done.returncode) == ([], 0), done.stderr


def test_what_would_run_is_kept_as_it_was_only_in_torchs_own_format(checkpoint: Path, canary: str) -> None:
    table = mapping((text("a"), tensor()), (text("b"), tensor()), (text("odd"), attack(canary)))
    checkpoint.write_bytes(zipped(table))
    assert str(surgeon.inspect(checkpoint).opaque["odd"]) == "os.system"
    refused = invoke("remap", str(checkpoint), "-o", str(checkpoint.parent / "out.safetensors"))
    assert refused.exit_code != 0
    assert "odd" in refused.stderr
    assert contents(checkpoint.parent) == ["model.pt"]
    assert invoke("remap", str(checkpoint), "-o", str(checkpoint.parent / "out.pt"), "-e", "drop: odd").exit_code == 0
    assert b"system" not in (checkpoint.parent / "out.pt").read_bytes()
    surgeon.write(surgeon.plan(checkpoint), checkpoint.parent / "kept.pt")
    assert str(surgeon.inspect(checkpoint.parent / "kept.pt").opaque["odd"]) == "os.system"


def test_a_live_model_is_never_given_what_only_its_class_could_rebuild(checkpoint: Path, canary: str) -> None:
    table = mapping((text("a"), tensor()), (text("b"), tensor()), (text("odd"), attack(canary)))
    checkpoint.write_bytes(zipped(table))
    with pytest.raises(SurgeryError, match=r"os\.system"):
        surgeon.remap(checkpoint, [])
    assert list(surgeon.remap(checkpoint, [{"drop": "odd"}])) == ["a", "b"]
