"""Every snippet of the fine-tuning recipe of 2019: what it loses without a word, and the same done safely."""

from __future__ import annotations

import pickle
import sys
import tempfile
import types
from pathlib import Path

import torch
from models import Mixer, ResNet50, Shifted
from torch import Tensor, nn

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent
StateDict = dict[str, Tensor]


def trained(model: nn.Module) -> StateDict:
    """Weights which no fresh model has: so that what was loaded can be told from what was not."""
    return {key: torch.full_like(value, 7) for key, value in model.state_dict().items()}


def loaded(model: nn.Module) -> int:
    """How many tensors of a model come from `trained`."""
    return sum(bool((value == 7).all()) for value in model.state_dict().values())


def filter_the_keys() -> None:
    """A checkpoint of DataParallel: every key begins with `module.`."""
    checkpoint = {f"module.{key}": value for key, value in trained(ResNet50()).items()}
    print("1. pretrained = {k: v for k, v in pretrained.items() if k in model_dict}")

    model = ResNet50()
    model_dict = model.state_dict()
    pretrained = {k: v for k, v in checkpoint.items() if k in model_dict}
    model_dict.update(pretrained)
    print("   2019:", model.load_state_dict(model_dict), f"and {loaded(model)} of {len(model_dict)} tensors were loaded")

    difference = surgeon.diff(checkpoint, model)
    print(f"   diff: {len(difference.matched)} of {len(model_dict)} keys of the model are in the file")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        surgeon.load(model, checkpoint)
    except surgeon.NothingLoadedError:
        same = all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        print(f"   load without rules: NothingLoadedError; the model is as it was: {same}")
    outcome = surgeon.load(model, checkpoint, HERE / "rules.yaml")
    print(f"   load with rules.yaml: {loaded(model)} of {len(model_dict)}, coverage {outcome.coverage:.0%}")


def drop_the_head() -> None:
    """`mlp.fc1` has `fc` in its name too."""
    checkpoint = trained(Mixer(classes=5))
    print("2. {k: v for k, v in pretrained.items() if 'fc' not in k}")

    model = Mixer(classes=3)
    kept = {k: v for k, v in checkpoint.items() if "fc" not in k}
    model.load_state_dict(kept, strict=False)
    print(f"   2019: {loaded(model)} of {len(checkpoint)} tensors were loaded; mlp.fc1 and mlp.fc2 went with the head")

    outcome = surgeon.load(model, checkpoint, HERE / "new_head.yaml")
    print(f"   load with new_head.yaml: {loaded(model)} of {len(checkpoint)}; new: {', '.join(outcome.new)}")


def drop_the_stem() -> None:
    """Each of the 16 blocks of a ResNet-50 has a `conv1.weight` too."""
    checkpoint = trained(ResNet50(in_channels=3))
    print("3. {k: v for k, v in pretrained.items() if 'conv1.weight' not in k}")

    kept = {k: v for k, v in checkpoint.items() if "conv1.weight" not in k}
    print(f"   2019: {len(checkpoint) - len(kept)} tensors were left out for the sake of one")

    outcome = surgeon.load(ResNet50(in_channels=10), checkpoint, HERE / "new_stem.yaml")
    print(f"   load with new_stem.yaml: left out: {', '.join(outcome.dropped)}; new: {', '.join(outcome.new)}")


def rename_the_wrapper() -> None:
    """`.network` begins with `.net`."""
    checkpoint = trained(Shifted(wrapped=True))
    print("4. {k.replace('.net', ''): v for k, v in pretrained.items()}")

    print("   2019:", ", ".join(key.replace(".net", "") for key in checkpoint))

    model = Shifted(wrapped=False)
    surgeon.load(model, checkpoint, HERE / "rules.yaml")
    print(f"   load with rules.yaml: {', '.join(model.state_dict())}: {loaded(model)} of {len(checkpoint)}")


def trainable(model: nn.Module) -> int:
    return sum(parameter.requires_grad for parameter in model.parameters())


def freeze_by_number() -> None:
    """165 was counted among the state_dict's 320 entries, where buffers stand too; there are 161 parameters."""
    print("5. for i, p in enumerate(model.parameters()): if i < 165: p.requires_grad = False")

    model = ResNet50()
    for i, parameter in enumerate(model.parameters()):
        if i < 165:
            parameter.requires_grad = False
    print(f"   2019: {trainable(model)} of {len(list(model.parameters()))} parameters can still learn")

    model = ResNet50()
    surgeon.finetune.freeze(model, below=165, space="state_dict")
    print(f"   freeze by number, counted in the state_dict, and said so: {trainable(model)} can")
    model = ResNet50()
    surgeon.finetune.freeze(model, ["conv1.**", "bn1.**", "{layer1|layer2|layer3}.**"])
    print(f"   freeze by name: {trainable(model)} can: layer4 and fc")


class Canary:
    """What a stranger may put into a file: it is called when the file is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("   2019: the file ran its own code",)


def unpickle_the_model(folder: Path) -> None:
    """A whole pickled model needs its class and runs whatever the file names."""
    print("6. torch.load('net.pth.tar').state_dict()")
    path = folder / "net.pth.tar"
    gone = types.ModuleType("gone")
    gone.Net = type("Net", (nn.Sequential,), {"__module__": "gone"})
    sys.modules["gone"] = gone
    net = gone.Net(nn.Linear(2, 3))
    net.canary = Canary()
    torch.save(net, path)

    torch.load(path, weights_only=False)
    del sys.modules["gone"]
    try:
        torch.load(path, weights_only=False)
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        print(f"   2019, without the class: {type(error).__name__}: {error}")

    header = surgeon.inspect(path)
    print("   inspect, without the class:", ", ".join(f"{key} {spec}" for key, spec in header.tensors.items()))


def main() -> None:
    torch.manual_seed(0)
    filter_the_keys()
    drop_the_head()
    drop_the_stem()
    rename_the_wrapper()
    freeze_by_number()
    with tempfile.TemporaryDirectory() as folder:
        unpickle_the_model(Path(folder))


if __name__ == "__main__":
    main()
