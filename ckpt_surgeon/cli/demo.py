"""`ckpt-surgeon demo`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import chdir

import click

from ckpt_surgeon.cli.demo_data import CHECKPOINT, MODEL, OUTPUT, RULES, make_checkpoint, make_files
from ckpt_surgeon.cli.output import put
from ckpt_surgeon.keys.display import escape

__all__ = ["command"]

_TARGET = f"{MODEL.removesuffix('.py')}:flow"
_REMAP = f"remap {CHECKPOINT} --rules {RULES} --set new_dataset=true --set modality=Flow --target {_TARGET} -o {OUTPUT} --force"
_STEPS = (  # what is asked, what is typed, the exit code
    ("What of the RGB checkpoint would load into the flow model?", f"diff {CHECKPOINT} {_TARGET}", 1),
    ("Nothing: the names differ. Three rules mend that:", _REMAP, 0),
    ("Is it true? Open it again and load it strictly:", f"verify {OUTPUT} {_TARGET} --allow-missing 'new_fc.**'", 0),
)


@click.command("demo")
@click.argument("folder", required=False)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def command(context: click.Context, folder: str | None, debug: bool) -> int:
    """Show the main job on a small video model: from RGB to flow.

    Writes a checkpoint, a model and rules into FOLDER (default: a new temporary one), then types the commands of diff,
    remap and verify, and counts what a plain load_state_dict would have lost.
    """
    if folder is None:
        import tempfile

        folder = tempfile.mkdtemp(prefix="ckpt-surgeon-demo-")
    make_files(folder)
    with chdir(folder):
        make_checkpoint()
        put(sys.stdout, f"# In {escape(folder)}: {CHECKPOINT}, {MODEL}, {RULES}\n")
        for remark, line, expected in _STEPS:
            if _typed(context, remark, line) != expected:
                return 1
        put(sys.stdout, "\n# What would have become of it without a plan?\n" + "".join(_losses()))
    return 0


def _typed(context: click.Context, remark: str, line: str) -> int:
    """Show a command line and run it as if it were typed; its exit code."""
    put(sys.stdout, f"\n# {remark}\n$ ckpt-surgeon {line}\n")
    application = context.find_root().command
    with application.make_context("ckpt-surgeon", shlex.split(line)) as root:
        code = application.invoke(root) or 0
    put(sys.stdout, f"(exit {code})\n" if code else "")
    return int(code)


def _losses() -> Iterator[str]:
    """What the usual recipes read of the checkpoint, counted on the model itself."""
    import torch

    from ckpt_surgeon.model import build

    weights = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    model = build(_TARGET, device="cpu")
    own = model.state_dict()
    model.load_state_dict(weights, strict=False)  # says nothing
    mended = {key.replace("module.", "").replace(".net", ""): tensor for key, tensor in weights.items()}
    mended = {key: tensor for key, tensor in mended.items() if "conv1.weight" not in key and "fc" not in key}
    read = {
        "load_state_dict(..., strict=False)": sum(key in own for key in weights),
        "{k: v for k in ... if k in own}; update; load: 'All keys matched'": sum(key in own for key in weights),
        "names replaced, every 'conv1.weight' and 'fc' left out": sum(key in own for key in mended),
        "ckpt-surgeon remap": len(torch.load(OUTPUT, weights_only=True)["state_dict"]),
    }
    width = max(map(len, read))
    return (f"  {name:<{width}}  {count:4d} of {len(own)} tensors\n" for name, count in read.items())
