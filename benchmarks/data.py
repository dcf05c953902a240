"""The data sets by name, made when they are first needed, and kept in a folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "DataSet", "Place"]

ROOT = Path(__file__).resolve().parents[1]
_SPARSE_TIMES = 4  # the file which is renamed in place is 4 GB where the others are 1 GB
_RESNET_WIDTH, _RESNET_BYTES = 64, 205_000_000  # a real ResNet-50 with its momenta


@dataclass(frozen=True, slots=True)
class DataSet:
    """`name`: of its file or folder; `maker`: the words which `benchmarks.making` takes; `source`: what it is made from."""

    name: str
    maker: tuple[str, ...]
    source: DataSet | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for data and outputs, and how large the data are: `nbytes` of the 435 tensors, `keys` of the tiny ones."""

    folder: Path
    nbytes: int
    keys: int

    def path(self, data: DataSet) -> str:
        return str(self.folder / data.name)

    def output(self, name: str) -> str:
        """Where an output of a run goes; removed before and after each."""
        return str(self.folder / f"out-{name}")

    def make(self, data: DataSet) -> None:
        """Make a data set, and what it is made from, unless it is there. Raises subprocess.CalledProcessError."""
        if data.source is not None:
            self.make(data.source)
        path = self.folder / data.name
        if path.exists():
            return
        kind, *arguments = data.maker
        sources = [] if data.source is None else [self.path(data.source)]
        subprocess.run([sys.executable, "-m", "benchmarks.making", kind, str(path), *arguments, *sources], check=True, cwd=ROOT)

    @property
    def single(self) -> DataSet:
        return DataSet(f"model-{self.nbytes}.safetensors", ("model", str(self.nbytes)))

    @property
    def twin(self) -> DataSet:
        """The same bytes as `single`, in another file."""
        return DataSet(f"twin-{self.nbytes}.safetensors", ("copy",), self.single)

    @property
    def torch(self) -> DataSet:
        return DataSet(f"model-{self.nbytes}.pt", ("torch_file",), self.single)

    @property
    def torch_twin(self) -> DataSet:
        """`torch` under a second name."""
        return DataSet(f"twin-{self.nbytes}.pt", ("link",), self.torch)

    @property
    def sharded(self) -> DataSet:
        return DataSet(f"sharded-{self.nbytes}", ("sharded",), self.single)

    @property
    def hub(self) -> DataSet:
        return DataSet(f"hub-{self.nbytes}", ("hub", str(self.nbytes)), self.single)

    @property
    def start(self) -> DataSet:
        """The same names and no bytes to speak of: what is left of a job is its start-up."""
        return DataSet("start.safetensors", ("start",))

    @property
    def start_torch(self) -> DataSet:
        return DataSet("start.pt", ("torch_file",), self.start)

    @property
    def passthrough(self) -> DataSet:
        return DataSet(f"passthrough-{self.nbytes}.yaml", ("passthrough",), self.hub)

    @property
    def surgery(self) -> DataSet:
        return DataSet(f"surgery-{self.nbytes}.yaml", ("surgery",), self.single)

    @property
    def training(self) -> DataSet:
        width = _RESNET_WIDTH if self.nbytes > _RESNET_BYTES else max(_RESNET_WIDTH * self.nbytes // _RESNET_BYTES, 2)
        return DataSet(f"resnet50-{width}.pth", ("training", str(width)))

    @property
    def start_training(self) -> DataSet:
        return DataSet("resnet50-start.pth", ("training", "2"))

    @property
    def tiny(self) -> DataSet:
        return DataSet(f"keys-{self.keys}.safetensors", ("keys", str(self.keys)))

    @property
    def tiny_twin(self) -> DataSet:
        return DataSet(f"keys-twin-{self.keys}.safetensors", ("copy",), self.tiny)

    @property
    def tiny_torch(self) -> DataSet:
        return DataSet(f"keys-{self.keys}.pt", ("torch_file",), self.tiny)

    @property
    def tiny_torch_twin(self) -> DataSet:
        return DataSet(f"keys-twin-{self.keys}.pt", ("copy",), self.tiny_torch)

    @property
    def sparse(self) -> DataSet:
        nbytes = _SPARSE_TIMES * self.nbytes
        return DataSet(f"sparse-{nbytes}.safetensors", ("sparse", str(nbytes)))

    @property
    def sparse_torch(self) -> DataSet:
        nbytes = _SPARSE_TIMES * self.nbytes
        return DataSet(f"sparse-{nbytes}.pt", ("sparse_torch", str(nbytes)))

    @property
    def twenty_rules(self) -> DataSet:
        return DataSet("twenty.yaml", ("rules", "20"))

    @property
    def narrowing(self) -> DataSet:
        return DataSet("narrowing.yaml", ("narrowing",))

    @property
    def bad(self) -> DataSet:
        return DataSet("bad", ("bad",))
