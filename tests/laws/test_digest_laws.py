"""Whatever was saved has one digest in every format, and it is hashlib's."""

import hashlib
import tempfile
from pathlib import Path

import torch
from generated import SAFE_DTYPES, state_dicts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ckpt_surgeon as surgeon


def digest_of(tensor: Tensor) -> str:
    plain = tensor.detach().contiguous()
    return hashlib.sha256(plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().tobytes()).hexdigest()


def converted(source: Path, out: Path, **options: object) -> surgeon.Digests:
    digests = surgeon.write(surgeon.plan(source), out, digest="sha256", **options).digests
    assert digests is not None
    return digests


@settings(max_examples=60)
@given(table=state_dicts(SAFE_DTYPES), legacy=st.booleans())
def test_every_format_has_the_same_digest(table: dict[str, Tensor], legacy: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(table, folder / "source.pt", _use_new_zipfile_serialization=not legacy)
        wanted = surgeon.digest(folder / "source.pt")
        assert wanted.tensors == {key: digest_of(tensor) for key, tensor in table.items()}
        assert converted(folder / "source.pt", folder / "one.safetensors") == wanted
        assert converted(folder / "one.safetensors", folder / "many", max_shard_size=64, to="sharded") == wanted
        assert converted(folder / "many", folder / "again.pt").whole == wanted.whole
        assert surgeon.digest(folder / "again.pt").whole == wanted.whole


@settings(max_examples=60)
@given(table=state_dicts(SAFE_DTYPES), seed=st.randoms())
def test_the_order_of_keys_does_not_tell(table: dict[str, Tensor], seed: object) -> None:
    keys = list(table)
    seed.shuffle(keys)
    assert surgeon.digest({key: table[key] for key in keys}).whole == surgeon.digest(dict(table)).whole


@settings(max_examples=60)
@given(table=state_dicts(SAFE_DTYPES), data=st.data())
def test_one_bit_tells_in_its_tensor_and_in_the_whole(table: dict[str, Tensor], data: st.DataObject) -> None:
    plain = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in table.items()}
    full = [key for key, tensor in plain.items() if tensor.numel()]
    if not full:
        return
    key = data.draw(st.sampled_from(full))
    before = surgeon.digest(plain)
    flat = plain[key].as_strided((plain[key].numel(),), (1,)).view(torch.uint8)
    flat[data.draw(st.integers(0, flat.numel() - 1))] ^= 1 << data.draw(st.integers(0, 7))
    after = surgeon.digest(plain)
    assert [each for each in plain if before.tensors[each] != after.tensors[each]] == [key]
    assert before.whole != after.whole
