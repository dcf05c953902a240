"""See what of a checkpoint will load, fix the names and shapes, prove it: before `model.load_state_dict`.

The public names are imported on use (PEP 562), so that `import ckpt_surgeon` costs nothing and imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon import finetune as finetune
    from ckpt_surgeon.comparison import Diff, Digests, Outcome
    from ckpt_surgeon.editing import edit
    from ckpt_surgeon.errors import (
        CorruptError,
        CoverageError,
        DiskError,
        InverseError,
        LimitError,
        LockedError,
        ModelError,
        NothingLoadedError,
        RulesError,
        SurgeryError,
        UnsafeError,
    )
    from ckpt_surgeon.execution import write
    from ckpt_surgeon.loading import load, pre_hook, remap
    from ckpt_surgeon.mapping.writing import Suggestion
    from ckpt_surgeon.planning import Lineage, Plan, explain
    from ckpt_surgeon.probing import Probe
    from ckpt_surgeon.provenance import Proof, lineage, verify_lineage
    from ckpt_surgeon.publishing import recover
    from ckpt_surgeon.rules.importing import rules_from_key_mapping, rules_from_revise_keys
    from ckpt_surgeon.rules.rule import Rules
    from ckpt_surgeon.spec import DType, Header, TensorSpec
    from ckpt_surgeon.surgery import diff, digest, inspect, invert, plan, suggest, suggestion
    from ckpt_surgeon.verification import verify

__version__ = "0.1.0"

__all__ = [
    "CorruptError",
    "CoverageError",
    "DType",
    "Diff",
    "Digests",
    "DiskError",
    "Header",
    "InverseError",
    "LimitError",
    "Lineage",
    "LockedError",
    "ModelError",
    "NothingLoadedError",
    "Outcome",
    "Plan",
    "Probe",
    "Proof",
    "Rules",
    "RulesError",
    "Suggestion",
    "SurgeryError",
    "TensorSpec",
    "UnsafeError",
    "diff",
    "digest",
    "edit",
    "explain",
    "finetune",
    "inspect",
    "invert",
    "lineage",
    "load",
    "plan",
    "pre_hook",
    "recover",
    "remap",
    "rules_from_key_mapping",
    "rules_from_revise_keys",
    "suggest",
    "suggestion",
    "verify",
    "verify_lineage",
    "write",
]

__getattr__ = deferred(
    __name__,
    {
        "finetune": "",
        "Diff": "comparison",
        "Digests": "comparison",
        "Outcome": "comparison",
        "CorruptError": "errors",
        "CoverageError": "errors",
        "DiskError": "errors",
        "InverseError": "errors",
        "LimitError": "errors",
        "LockedError": "errors",
        "ModelError": "errors",
        "NothingLoadedError": "errors",
        "RulesError": "errors",
        "SurgeryError": "errors",
        "UnsafeError": "errors",
        "edit": "editing",
        "write": "execution",
        "load": "loading",
        "pre_hook": "loading",
        "remap": "loading",
        "Suggestion": "mapping.writing",
        "Lineage": "planning",
        "Plan": "planning",
        "explain": "planning",
        "Probe": "probing",
        "Proof": "provenance",
        "lineage": "provenance",
        "verify_lineage": "provenance",
        "recover": "publishing",
        "rules_from_key_mapping": "rules.importing",
        "rules_from_revise_keys": "rules.importing",
        "Rules": "rules.rule",
        "DType": "spec",
        "Header": "spec",
        "TensorSpec": "spec",
        "diff": "surgery",
        "digest": "surgery",
        "inspect": "surgery",
        "invert": "surgery",
        "plan": "surgery",
        "suggest": "surgery",
        "suggestion": "surgery",
        "verify": "verification",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
