"""Whatever rules do: the output's manifest tells it truly, and what it tells makes the same output of the same source."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from surgeries import fits, surgeries

import ckpt_surgeon as surgeon
from ckpt_surgeon.planning import lineage_of, sources_of


@settings(max_examples=80)
@given(surgery=surgeries(), out=st.sampled_from(["out.safetensors", "out.pt", "shards"]))
def test_a_manifest_makes_the_output_anew(surgery, out) -> None:
    source, rules = surgery
    assume(fits(rules, source))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(source, folder / "in.pt")
        plan = surgeon.plan(str(folder / "in.pt"), rules)
        surgeon.write(plan, folder / out, lineage="auto", digest="sha256")
        proof = surgeon.verify_lineage(str(folder / out), str(folder / f"{out}.lineage.json"), source=str(folder / "in.pt"))
        assert proof.made_anew == len(plan.recipes)
        assert proof.digested == proof.keys == len(plan.header)
        if "ckpt_surgeon.lineage" in surgeon.inspect(folder / out).metadata:
            assert surgeon.lineage(str(folder / out)) == replace(proof.lineage, tensors=None, digests=None)


@settings(max_examples=80)
@given(surgery=surgeries())
def test_a_lineage_names_the_sources_and_classes_of_the_plan(surgery) -> None:
    source, rules = surgery
    assume(fits(rules, source))
    plan = surgeon.plan(source, rules)
    lineage = lineage_of(plan)
    origins = {key: lineage.origin(key) for key in plan.header}
    assert {key: origin.classification for key, origin in origins.items()} == plan.outcome.classes
    for key, origin in origins.items():
        wanted = [plan.source.canonical(each.key) for each in sources_of(plan.recipes[plan.ties.get(key, key)])]
        assert [plan.source.canonical(each) for each in origin.sources] == wanted
