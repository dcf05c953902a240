"""The bench: links put the source's weights into the target, and a run says how far they lead."""

from collections.abc import Sequence

import pytest
import torch
from probed_models import Chain, Mixer, trained
from torch import Tensor, nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.model import header_of_module
from ckpt_surgeon.probing.bench import Bench, Result
from ckpt_surgeon.probing.deciding import judged
from ckpt_surgeon.probing.groups import Group, Links
from ckpt_surgeon.probing.inputs import Inputs
from ckpt_surgeon.probing.models import Models
from ckpt_surgeon.probing.running import Call

NAMES = ("cat", "dog", "fox")


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def links(target: str, source: str, change: Change | None = None) -> Links:
    """Of the weights and biases of a layer."""
    return tuple(Link((f"{source}.{leaf}",), (f"{target}.{leaf}",), change if leaf == "weight" else None) for leaf in ("weight", "bias"))


def bench(source: nn.Module, target: nn.Module, x: Tensor, used: set[str] | None = None) -> Bench:
    headers = header_of_module(source), header_of_module(target)
    models = Models(source.eval(), target.eval(), {key: key for key in headers[0]})
    return Bench(models, Inputs((x,)), headers, 0, set(headers[0]) if used is None else used)


def chains(names: Sequence[str] = NAMES) -> tuple[nn.Module, nn.Module]:
    """The source runs a, b, c; the target its own layers in the order given."""
    return trained(Chain("abc")), Chain(names)


def put_all(on: Bench, sources: str, targets: Sequence[str] = NAMES) -> None:
    for source, target in zip(sources, targets, strict=True):
        on.put(links(target, source))


class TestARun:
    def test_of_the_right_weights_is_equal_and_all_is_known(self) -> None:
        on = bench(*chains(), numbers(4, 8))
        put_all(on, "abc")
        found = on.run()
        assert found.is_equal
        assert not found.is_other
        assert found.known == (True,) * 4
        assert found.reach() == 4

    def test_leads_as_far_as_the_first_wrong_weight(self) -> None:
        on = bench(*chains(), numbers(4, 8))
        put_all(on, "acb")
        found = on.run()
        assert found.is_apart
        assert found.known == (True, True, True, False)  # the whole, cat, dog: what dog gave is wrong

    def test_is_counted(self) -> None:
        on = bench(*chains(), numbers(4, 8))
        before = on.runs
        on.run()
        on.run()
        assert on.runs == before + 2

    def test_of_a_layer_which_lies_the_other_way(self) -> None:
        source, target = trained(Chain("a")), Chain(["cat"])
        on = bench(source, target, numbers(4, 8))
        on.put(links("cat", "a", Change("transpose")))
        assert on.run().is_apart
        assert torch.equal(target.cat.weight, source.a.weight.T)
        on.put(links("cat", "a"))
        assert on.run().is_equal

    def test_of_outputs_with_no_shape_in_common_is_no_comparison(self) -> None:
        found = bench(trained(Mixer("a", "b")), _Sum(), numbers(2, 8, 8)).run()
        assert (found.distance, found.is_other, found.is_apart, found.is_equal) == (None, True, False, False)

    def test_of_a_source_whose_outputs_are_no_numbers_is_refused(self) -> None:
        with pytest.raises(ModelError, match="no numbers on the probe's input") as error:
            bench(*chains(), torch.full((4, 8), torch.nan))
        assert error.value.hint == "give another input"

    def test_of_a_target_whose_outputs_are_none_is_infinitely_far(self) -> None:
        on = bench(trained(Chain("a")), _Nan(["cat"]), numbers(4, 8))
        on.put(links("cat", "a"))
        found = on.run()
        assert found.is_apart
        assert found.distance == torch.inf


class _Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


class _Nan(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


class TestWeights:
    def test_of_the_source_are_shaken_and_only_those_which_links_may_take(self) -> None:
        source, target = chains()
        before = {key: value.clone() for key, value in source.state_dict().items()}
        bench(source, target, numbers(4, 8), used={"a.weight", "b.bias"})
        after = source.state_dict()
        assert {key for key, value in before.items() if not torch.equal(value, after[key])} == {"a.weight", "b.bias"}

    def test_which_are_tied_stay_tied(self) -> None:
        source, target = _tied("a", "b"), _tied("cat", "dog")
        on = bench(source, target, numbers(4, 8))
        assert torch.equal(source.a.weight, source.b.weight)
        on.put(links("cat", "a"))
        on.put(links("dog", "b"))
        assert on.run().is_equal

    def test_of_no_meaning_lead_nowhere(self) -> None:
        source, target = trained(Chain("a")), Chain(["cat"])
        on = bench(source, target, numbers(4, 8))
        on.put(links("cat", "a"))
        on.shake(links("cat", "a"))
        assert on.run().is_apart
        gap = torch.linalg.vector_norm(target.cat.weight - source.a.weight) / torch.linalg.vector_norm(source.a.weight)
        assert gap > 0.5

    def test_are_given_back_as_the_target_was_built(self) -> None:
        source, target = chains()
        before = {key: value.clone() for key, value in target.state_dict().items()}
        on = bench(source, target, numbers(4, 8))
        put_all(on, "abc")
        on.reset(["cat.weight", "cat.bias", "no.such.key"])
        after = target.state_dict()
        assert {key for key, value in before.items() if torch.equal(value, after[key])} == {"cat.weight", "cat.bias"}
        on.reset(before)
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in before.items())

    def test_which_the_source_s_model_lacks_are_told(self) -> None:
        source, target = chains()
        headers = header_of_module(source), header_of_module(target)
        names = {key: key for key in headers[0] if not key.startswith("c.")}
        on = Bench(Models(source.eval(), target.eval(), names), Inputs((numbers(4, 8),)), headers, 0, set(headers[0]))
        assert on.has(links("cat", "a"))
        assert not on.has(links("cat", "c"))
        assert not on.has((*links("cat", "a"), *links("dog", "c")))
        assert on.has((Link(("made.between",), ("dog.weight",)),))  # no key of the source

    def test_bear_the_names_of_the_checkpoint(self) -> None:
        source, target = trained(Chain("a")), Chain(["cat"])
        own = header_of_module(source)
        names = {key: f"module.{key}" for key in own}
        outer = type(own)({names[key]: entry for key, entry in own.entries.items()})
        on = Bench(Models(source.eval(), target.eval(), names), Inputs((numbers(4, 8),)), (outer, header_of_module(target)), 0, set(outer))
        on.put(links("cat", "module.a"))
        assert on.run().is_equal

    def test_of_running_statistics_are_shaken_and_carried_over_too(self) -> None:
        source, target = (nn.Sequential(nn.BatchNorm2d(4)).eval() for _ in range(2))
        on = bench(source, target, numbers(2, 4, 3, 3))
        assert (source[0].running_var > 0).all()
        assert not torch.equal(source[0].running_mean, torch.zeros(4))
        assert source[0].num_batches_tracked == 0
        leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        on.put([Link((f"0.{leaf}",), (f"0.{leaf}",)) for leaf in leaves[:2]])
        assert on.run().is_apart
        on.put([Link((f"0.{leaf}",), (f"0.{leaf}",)) for leaf in leaves])
        assert on.run().is_equal


def _tied(first: str, second: str) -> nn.Module:
    model = Chain([first, second])
    getattr(model, second).weight = getattr(model, first).weight
    return trained(model)


class TestPlaces:
    calls = tuple(Call(name, ()) for name in ("", "block", "block.attn", "head", "block.attn"))
    result = Result(0.0, calls, (True,) * 5)

    @pytest.mark.parametrize(
        ("keys", "places"),
        [
            (("head.weight",), (3, 3)),
            (("block.attn.weight",), (2, 4)),  # called twice
            (("block.attn.packed.rows.weight",), (2, 4)),  # of a part which is never called by itself
            (("block.scale",), (1, 1)),
            (("token",), (0, 0)),
            (("head.bias", "block.scale"), (1, 3)),
        ],
    )
    def test_of_keys_are_those_of_the_innermost_part_which_is_called(self, keys: tuple[str, ...], places: tuple[int, int]) -> None:
        assert self.result.places(keys) == places

    @pytest.mark.parametrize(("after", "reach"), [(-1, 3), (0, 2), (1, 2), (2, 1), (4, 0)])
    def test_known_are_counted_beyond_a_place(self, after: int, reach: int) -> None:
        assert Result(0.0, self.calls, (True, False, True, False, True)).reach(after) == reach


class TestAJudgement:
    def group(self, *options: tuple[Links, ...], layouts: tuple[tuple[Links, ...], ...] = ()) -> Group:
        return Group(tuple(range(len(options))), options, layouts)

    def both(self, first: str = "b") -> Group:
        """cat and dog, which may take a and b; matched the wrong way round where `first` is b."""
        second = "a" if first == "b" else "b"
        ways = [(links(target, one), links(target, other)) for target, one, other in (("cat", first, second), ("dog", second, first))]
        return self.group(*ways)

    @pytest.mark.parametrize("first", ["a", "b"])
    def test_takes_the_way_which_leads_to_the_outputs_and_leaves_it_in_the_target(self, first: str) -> None:
        source, target = chains()
        on = bench(source, target, numbers(4, 8))
        on.put(links("fox", "c"))
        verdict = judged(on, self.both(first), 8)
        assert verdict is not None
        assert verdict.is_clear
        assert verdict.best.way == (links("cat", "a"), links("dog", "b"))
        assert len(verdict.others) == 1
        assert torch.equal(target.cat.weight, source.a.weight)
        assert on.run().is_equal

    @pytest.mark.parametrize("most", [-3, 0, 1])
    def test_needs_two_runs(self, most: int) -> None:
        on = bench(*chains(), numbers(4, 8))
        assert judged(on, self.both(), most) is None
        assert on.runs == 0

    @pytest.mark.parametrize("most", [2, 3, 5])
    def test_takes_no_more_runs_than_it_may(self, most: int) -> None:
        on = bench(*chains(), numbers(4, 8))
        group = self.group(*[tuple(links(target, source) for source in "cba") for target in NAMES])
        judged(on, group, most)
        assert 2 <= on.runs <= most

    def test_of_one_way_is_against_weights_of_no_meaning(self) -> None:
        on = bench(trained(Chain("a")), Chain(["cat"]), numbers(4, 8))
        verdict = judged(on, self.group((links("cat", "a"),)), 8)
        assert verdict is not None
        assert [trial.way for trial in verdict.others] == [None]
        assert verdict.is_clear
        assert not verdict.is_even

    def test_of_one_way_on_which_nothing_hangs_is_even(self) -> None:
        on = bench(_idle("a"), _idle("cat"), numbers(4, 8), used={"a.weight", "a.bias"})
        verdict = judged(on, self.group((links("cat", "a"),)), 8)
        assert verdict is not None
        assert verdict.is_even
        assert not verdict.is_clear

    def test_of_two_ways_which_compute_the_same_is_not_clear(self) -> None:
        on = bench(trained(_Both("a", "b")), _Both("cat", "dog"), numbers(4, 8))
        verdict = judged(on, self.both(), 8)
        assert verdict is not None
        assert verdict.is_even
        assert not verdict.is_clear

    def test_tries_no_layout_once_the_outputs_are_equal(self) -> None:
        on = bench(trained(Chain("a")), Chain(["cat"]), numbers(4, 8))
        matched, turned = links("cat", "a"), links("cat", "a", Change("transpose"))
        verdict = judged(on, self.group((matched,), layouts=((turned,),)), 8)
        assert verdict is not None
        assert verdict.best.way == (matched,)
        assert (turned,) not in [trial.way for trial in verdict.others]


def _idle(name: str) -> nn.Module:
    """A layer which is never run beside one which is."""
    model = Chain("z")
    model.add_module(name, nn.Linear(8, 8))
    with torch.no_grad():
        model.z.weight.fill_(0.5)
        model.z.bias.zero_()
    return model


class _Both(Chain):
    """Two layers side by side, whose outputs are added: either may be the other."""

    def __init__(self, *names: str) -> None:
        super().__init__(names)

    def forward(self, x: Tensor) -> Tensor:
        first, second = (getattr(self, name) for name in self.names)
        return torch.tanh(first(x) + second(x))
