"""`_metadata` moves with its modules."""

import pytest

from ckpt_surgeon.planning.modules import moved_metadata

CASES = [
    ("nothing moves", ["a.w"], ["a.w"], ["", "a"], {"": "", "a": "a"}),
    ("a prefix goes", ["m.a.w"], ["a.w"], ["", "m", "m.a"], {"": "", "a": "m.a"}),
    ("a prefix comes", ["a.w"], ["m.a.w"], ["", "a"], {"": "", "m": "", "m.a": "a"}),
    ("the root itself goes down", ["w"], ["fc.w"], [""], {"": "", "fc": ""}),
    ("a module without tensors goes with its parent", ["m.a.w"], ["n.a.w"], ["", "m", "m.relu"], {"": "", "n": "m", "n.relu": "m.relu"}),
    ("a dropped module stays behind", ["a.w", "b.w"], ["a.w", None], ["", "a", "b", "b.inner"], {"": "", "a": "a"}),
    ("a leaf of another name", ["x.conv.w"], ["y.proj.w"], ["", "x", "x.conv"], {"": "", "y.proj": "x.conv"}),
    ("two modules become one", ["q.w", "k.w"], ["qk.w", "qk.w"], ["", "q", "k"], {"": "", "qk": "q"}),
    ("one module becomes three", ["a.qkv.w"] * 3, ["a.q.w", "a.k.w", "a.v.w"], ["", "a", "a.qkv", "a.drop"],
     {"": "", "a": "a", "a.q": "a.qkv", "a.k": "a.qkv", "a.v": "a.qkv", "a.drop": "a.drop"}),
    ("no metadata", ["a.w"], ["b.w"], [], {}),
]  # fmt: skip


@pytest.mark.parametrize(("sources", "outputs", "modules", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_entry_goes_where_its_tensors_went(sources, outputs, modules, wanted):
    metadata = {path: {"version": 1, "from": path} for path in modules}
    moves = [(source, output) for source, output in zip(sources, outputs, strict=True) if output is not None]
    assert {path: entry["from"] for path, entry in moved_metadata(moves, metadata, sources).items()} == wanted
