"""Values as the other rooms hand them in, made by hand: a header, diffs, a plan with its outcome, explanations."""

from dataclasses import replace

from ckpt_surgeon.comparison import Diff, Digests, Outcome, compare
from ckpt_surgeon.ops.channels import AdaptInChannels
from ckpt_surgeon.ops.splitting import Split
from ckpt_surgeon.planning.lineage import AS_IT_IS, Lineage, Ran, Way, Work
from ckpt_surgeon.planning.optimizer_plan import OptimizerPlan
from ckpt_surgeon.planning.recipe import Derived, Plan, Source
from ckpt_surgeon.provenance import Proof
from ckpt_surgeon.spec import Envelope, Header, Opaque, TableSummary, TensorSpec

F32 = "float32"


def spec(*shape: int, dtype: str = F32) -> TensorSpec:
    return TensorSpec.of(dtype, *shape)


def header(**entries: TensorSpec | Opaque) -> Header:
    """A header from keys written with `__` for the dot."""
    return Header({key.replace("__", "."): entry for key, entry in entries.items()})


BLOCKS = [f"layer{i}.{j}.conv1.weight" for i in range(1, 5) for j in range(3)]

ENVELOPE = Envelope(
    path="state_dict",
    tables=(TableSummary("state_dict", 3, 4872), TableSummary("ema", 1, 4704)),
    contents={"epoch": "45", "arch": "'tsm'"},
    optimizers=("optimizer",),
)

HEADER = Header(
    {
        "conv.weight": spec(8, 3, 7, 7),
        "bn.running_mean": spec(8),
        "fc.weight": spec(4, 8),
        "head.weight": spec(4, 8),
        "extra": Opaque("a sparse tensor"),
        "fc.bias": spec(4, dtype="bfloat16"),
    },
    kinds={
        "conv.weight": "parameter",
        "bn.running_mean": "buffer",
        "fc.weight": "parameter",
        "head.weight": "parameter",
        "fc.bias": "parameter",
    },
    aliases={"head.weight": "fc.weight"},
    metadata={"format": "pt"},
    format="torch",
    envelope=ENVELOPE,
)

DIGESTS = Digests("sha256", {key: f"{i:064x}" for i, key in enumerate(HEADER.tensors)}, "ab" * 32)

LINEAGE = Lineage(
    "ab" * 32,
    6,
    (Ran(1, "rename", "3:5"), Ran(2, "split")),
    (
        AS_IT_IS,
        Way(1, (), (0,)),
        Way(1, (Work("split", {"sizes": [4, 4], "dim": 0}, 1, (0,)),), (0, 1)),
        Way(0, (Work("init", {}, 0, ()),)),
    ),
    {"conv.": (1, "old.conv.")},
    {"fc.weight": (2, ("old.fc",)), "extra": (3, ())},
    ("gone",),
)
PROOF = Proof(LINEAGE, 6)

WRAPPED = compare(
    Header({f"module.{key}": spec(8, 8, 1, 1) for key in BLOCKS}),
    Header({key: spec(8, 8, 1, 1) for key in BLOCKS}),
)

MIXED = compare(
    header(a__weight=spec(2, 3), b__weight=spec(4), c__weight=spec(5, dtype="float16"), left__over=spec(7), bn__running_mean=spec(1)),
    header(
        a__weight=spec(2, 4),
        b__weight=spec(4),
        c__weight=spec(5),
        gone__weight=spec(6),
        bn__running_mean=spec(1),
        bn__num_batches_tracked=spec(dtype="int64"),
    ),
)

SAME = compare(HEADER, HEADER)

_CONV = Source("module.conv.weight", spec(8, 3, 7, 7))
_QKV = Source("qkv", spec(6, 2))
_SPLIT = Split(parts=3).bind(3, None)

PLAN = Plan(
    recipes={
        "conv.weight": Derived(AdaptInChannels("mean", 10), (_CONV,), 0, spec(8, 10, 7, 7)),
        **{key: Source(f"module.{key}", spec(8, 8, 1, 1)) for key in BLOCKS},
        "k": Derived(_SPLIT, (_QKV,), 1, spec(2, 2)),
        "same": Source("same", spec(3)),
    },
    ties={"twin": "same"},
    dropped={"new_fc.weight": "dropped by rules.yaml:4:5 (drop)", "new_fc.bias": "dropped by rules.yaml:4:5 (drop)"},
    filled=("bn.num_batches_tracked",),
    header=Header(
        {"conv.weight": spec(8, 10, 7, 7), **dict.fromkeys(BLOCKS, spec(8, 8, 1, 1)), "k": spec(2, 2), "same": spec(3), "twin": spec(3)}
    ),
    outcome=Outcome(
        missing_keys=("fc.weight",),
        exact=("same", "twin"),
        renamed=tuple(BLOCKS),
        adapted=("conv.weight", "k"),
        filled=("bn.num_batches_tracked",),
        dropped={"new_fc.weight": "dropped by rules.yaml:4:5 (drop)", "new_fc.bias": "dropped by rules.yaml:4:5 (drop)"},
    ),
    source=Header({}, envelope=ENVELOPE),
    target=Header(
        {
            "conv.weight": spec(8, 10, 7, 7),
            **dict.fromkeys(BLOCKS, spec(8, 8, 1, 1)),
            "k": spec(2, 2),
            "same": spec(3),
            "twin": spec(3),
            "fc.weight": spec(4, 8),
            "bn.num_batches_tracked": spec(dtype="int64"),
        }
    ),
    notes=("the optimizer state 'optimizer' is dropped: conv.weight is adapted or new",),
    digest="ab12",
    optimizer=OptimizerPlan("dropped", "conv.weight is adapted or new"),
)


def named(diff: Diff, **fields: object) -> Diff:
    """A diff with some fields put in by hand."""
    return replace(diff, **fields)
