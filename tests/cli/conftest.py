"""Each test of the command line works in a folder of its own, which holds the small files."""

import shutil
import sys
from pathlib import Path

import pytest
from cli_runs import make_files


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    make_files(folder)
    return folder


@pytest.fixture
def folder(small_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with fresh copies of the small files."""
    for path in small_files.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    return tmp_path
