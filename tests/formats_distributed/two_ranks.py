"""Save a distributed checkpoint with two processes: `python two_ranks.py FOLDER`, and the truth as `truth.pt` beside its files."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

RANKS = 2


def save(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    generator = torch.Generator().manual_seed(0)
    rows, columns, short, half = (torch.randn(shape, generator=generator) for shape in [(5, 4), (3, 6, 2), (1, 3), (4, 3)])
    whole = {
        "rows": (rows, Shard(0)),
        "columns": (columns, Shard(1)),
        "short": (short, Shard(0)),  # the second process holds none of it
        "last": (columns, Shard(2)),
        "same": (rows, Replicate()),
        "half": (half.to(torch.bfloat16), Shard(0)),
    }
    model = {key: distribute_tensor(tensor, mesh, [placement]) for key, (tensor, placement) in whole.items()}
    moments = {0: {"exp_avg": distribute_tensor(rows, mesh, [Shard(1)]), "step": torch.tensor(3.0)}}
    groups = [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}]
    turned = columns.permute(2, 0, 1)
    state = {"model": {**model, "turned": turned}, "epoch": 3, "optim": {"state": moments, "param_groups": groups}}
    dcp.save(state, checkpoint_id=f"{folder}/saved")
    if rank == 0:
        tensors = {**{key: tensor for key, (tensor, _) in whole.items()}, "turned": turned}
        optim = {"state": {0: {"exp_avg": rows, "step": torch.tensor(3.0)}}, "param_groups": groups}
        torch.save({"model": tensors, "epoch": 3, "optim": optim}, Path(folder) / "truth.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(save, (sys.argv[1],), RANKS)
