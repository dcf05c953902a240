"""Names which change where the file stands: what every reader makes of it then, and what is refused untouched."""

import json
import os
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.editing import obstacles
from ckpt_surgeon.errors import DiskError, LockedError, RulesError, SurgeryError
from ckpt_surgeon.formats.pending import journal_path
from ckpt_surgeon.formats.zip_edit import REPLACED

LONG = "a_name_long_enough_to_leave_some_room.once_it_is_gone_from_every_key"


def tensors(prefix=LONG):
    torch.manual_seed(0)
    return {
        f"{prefix}.conv.weight": torch.randn(4, 3),
        f"{prefix}.conv.bias": torch.randn(4),
        f"{prefix}.empty": torch.zeros(0, 7),
        f"{prefix}.steps": torch.tensor(3),
        f"{prefix}.fc.weight": torch.randn(2, 4).half(),
    }


@pytest.fixture(params=["model.safetensors", "model.pt"])
def path(request, tmp_path):
    return write(tmp_path / request.param, tensors())


def write(path, table, around=None):
    if path.suffix == ".safetensors":
        save_file(table, path, metadata={"note": "kept"})
    else:
        torch.save(table if around is None else around, path)
    return path


def read(path):
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def rewrite(path, rules, **options):
    return surgeon.edit(surgeon.plan(str(path), rules, **options))


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    assert all(torch.equal(found[key], wanted[key]) and found[key].dtype == wanted[key].dtype for key in wanted)


STRIP = [{"strip_prefix": f"{LONG}."}]


def stripped():
    return {key.removeprefix(f"{LONG}."): tensor for key, tensor in tensors().items()}


def without_manifest(metadata):
    """An edit in place leaves no manifest: the header's room is for the names."""
    return {name: text for name, text in metadata.items() if name not in ("ckpt_surgeon.lineage", "ckpt_surgeon.plan")}


def test_a_rename_in_place_is_the_rename_elsewhere(path, tmp_path):
    plan = surgeon.plan(str(path), STRIP)
    other = tmp_path / f"other{path.suffix}"
    written = surgeon.write(plan, other)
    inode = path.stat().st_ino
    outcome = surgeon.edit(plan)
    assert outcome == written
    assert path.stat().st_ino == inode
    assert_same(read(path), stripped())
    first, second = surgeon.inspect(path), surgeon.inspect(other)
    assert (first.entries, first.aliases, first.metadata, first.torch_metadata) == (
        second.entries,
        second.aliases,
        without_manifest(second.metadata),
        second.torch_metadata,
    )
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, other.name])


def test_the_weights_stay_where_they_are(path):
    before = path.read_bytes()
    rewrite(path, STRIP)
    after = path.read_bytes()
    start = len(before) // 2 if path.suffix == ".pt" else 8 + int.from_bytes(before[:8], "little")
    if path.suffix == ".safetensors":
        assert after[:8] == before[:8]
        assert after[start:] == before[start:]
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("model/data/"):
                end = entry.header_offset + 64 + entry.file_size
                assert after[entry.header_offset : end] == before[entry.header_offset : end]


def test_it_can_be_done_again_and_again(path):
    rewrite(path, STRIP)
    sizes = []
    for i in range(4):
        rewrite(path, [{"replace": {"conv" if i == 0 else f"cv{i - 1}": f"cv{i}"}}])
        sizes.append(path.stat().st_size)
    wanted = {key.replace("conv.", "cv3."): tensor for key, tensor in stripped().items()}
    assert_same(read(path), wanted)
    assert len(set(sizes)) == 1


def test_what_changes_nothing_touches_nothing(path):
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert len(rewrite(path, []).exact) == 5
    rewrite(path, STRIP)
    after = path.read_bytes()
    rewrite(path, [])
    assert path.read_bytes() == after != before
    assert path.stat().st_mtime_ns >= stamp


def test_names_may_hold_whatever_a_name_can(tmp_path):
    odd = 'quo"te\\back/"\n\x07\u2028é中\U0001f600'
    for name in ("odd.safetensors", "odd.pt"):
        path = write(tmp_path / name, tensors())
        rewrite(path, [{"rename": {f"{LONG}.conv.weight": odd}}, {"replace": {LONG: "x"}}])
        found = surgeon.inspect(path)
        assert odd in found
        assert_same(read(path), {odd if key == "x.conv.weight" else key: each for key, each in tensors("x").items()})


def test_a_swap_of_two_names(path):
    rewrite(path, [{"replace": {LONG: "x"}}, {"rename": {"x.conv.{leaf}": "x.fc.{leaf}", "x.fc.{leaf}": "x.conv.{leaf}"}}])
    wanted = {key.replace("conv", "#").replace("fc", "conv").replace("#", "fc"): each for key, each in tensors("x").items()}
    assert_same(read(path), wanted)


def test_ties_stay_ties_or_become_single_names(tmp_path):
    shared = torch.randn(3, 2)
    source = tmp_path / "tied.pt"
    torch.save({"m.embed": shared, "m.other": torch.randn(2), "m.head": shared}, source)
    for name in ("a.pt", "a.safetensors"):
        path = tmp_path / name
        surgeon.write(surgeon.plan(str(source)), path)
        if name == "a.pt":
            rewrite(path, [{"strip_prefix": "m."}])
            assert surgeon.inspect(path).aliases == {"head": "embed"}
            rewrite(path, [{"drop": "head"}])
            assert list(surgeon.inspect(path)) == ["embed", "other"]
        else:
            rewrite(path, [{"drop": "m.head"}])
            assert list(surgeon.inspect(path)) == ["m.embed", "m.other"]
            assert torch.equal(load_file(path)["m.embed"], shared)


def test_a_tie_of_two_names_of_one_tensor_can_be_renamed_in_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    shared = torch.randn(3, 2)
    torch.save({f"{LONG}.embed": shared, f"{LONG}.head": shared}, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(str(tmp_path / "a.pt")), path)
    rewrite(path, STRIP)
    found = surgeon.inspect(path)
    assert (list(found), found.aliases) == (["embed", "head"], {"head": "embed"})


def test_views_of_one_storage_stay_views(tmp_path):
    path = tmp_path / "views.pt"
    whole = torch.arange(12.0)
    torch.save({"m.a": whole[:6], "m.b": whole[6:].view(2, 3), "m.c": whole.view(3, 4).t()}, path)
    rewrite(path, [{"strip_prefix": "m."}])
    found = torch.load(path, weights_only=True)
    assert_same(found, {"a": whole[:6], "b": whole[6:].view(2, 3), "c": whole.view(3, 4).t()})
    assert found["a"].untyped_storage().data_ptr() == found["c"].untyped_storage().data_ptr()


def test_what_stands_around_the_weights_stays(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    state = torch.nn.Module()
    state.module = model
    path = tmp_path / "run.pt"
    torch.save({"epoch": 7, "state_dict": state.state_dict(), "optimizer": optimizer.state_dict()}, path)
    rewrite(path, [{"strip_prefix": "module."}])
    found = torch.load(path, weights_only=True)
    assert found["epoch"] == 7
    assert found["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert_same(found["state_dict"], model.state_dict())
    assert {key: value for key, value in found["state_dict"]._metadata.items() if value} == dict(model.state_dict()._metadata)
    torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).load_state_dict(found["state_dict"])


def test_one_of_several_tables_is_renamed_and_the_other_kept(tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"state_dict": {"m.a": torch.ones(2)}, "ema": {"m.a": torch.zeros(2)}}, path)
    rewrite(f"{path}#ema", [{"strip_prefix": "m."}])
    found = torch.load(path, weights_only=True)
    assert (list(found["state_dict"]), list(found["ema"])) == (["m.a"], ["a"])


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"map_location": "meta"}], ids=str)
def test_torch_reads_what_was_edited_three_times(tmp_path, options):
    path = write(tmp_path / "model.pt", tensors())
    for old, new in ((LONG, "one"), ("one", "two_and_longer"), ("two_and_longer", "three")):
        rewrite(path, [{"replace": {old: new}}])
    found = torch.load(path, weights_only=True, **options)
    assert list(found) == list(tensors("three"))
    if "map_location" not in options:
        assert_same(found, tensors("three"))


def test_python_reads_what_was_edited(tmp_path):
    path = write(tmp_path / "model.pt", tensors())
    with zipfile.ZipFile(path) as archive:
        before = {name: archive.read(name) for name in archive.namelist()}
    for rules in (STRIP, [{"add_prefix": "x."}]):
        rewrite(path, rules)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            after = {name: archive.read(name) for name in archive.namelist()}
        assert after.pop(f"model/{REPLACED}") == before["model/data.pkl"]
        assert after.pop("model/data.pkl") != before["model/data.pkl"]
        assert after == {name: data for name, data in before.items() if name != "model/data.pkl"}


def test_a_file_of_torch_without_checksums_stays_one(tmp_path):
    path = tmp_path / "model.pt"
    config = torch.utils.serialization.config.save
    config.compute_crc32 = False
    try:
        torch.save(tensors(), path)
    finally:
        config.compute_crc32 = True
    rewrite(path, STRIP)
    assert_same(torch.load(path, weights_only=True), stripped())
    surgeon.write(surgeon.plan(str(path)), tmp_path / "copy.pt")


def test_what_was_edited_can_be_written_elsewhere_without_a_trace(tmp_path):
    path, plain = write(tmp_path / "model.pt", tensors()), tmp_path / "plain.pt"
    surgeon.write(surgeon.plan(str(path), STRIP), plain)
    rewrite(path, STRIP)
    surgeon.write(surgeon.plan(str(path)), tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == plain.read_bytes()


def repacked(path, compression):
    """The same archive as Python's zipfile writes it, `data.pkl` last."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    records["model/data.pkl"] = records.pop("model/data.pkl")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_an_archive_which_another_tool_packed_anew_is_edited_too(tmp_path, compression):
    path = repacked(write(tmp_path / "model.pt", tensors()), compression)
    rewrite(path, STRIP)
    assert_same(torch.load(path, weights_only=True), stripped())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert f"model/{REPLACED}" not in archive.namelist()


def test_a_file_may_become_shorter(tmp_path):
    path = repacked(write(tmp_path / "model.pt", tensors()), zipfile.ZIP_STORED)
    size = path.stat().st_size
    rewrite(path, STRIP)
    assert path.stat().st_size < size


def test_an_order_which_the_target_wants_stays_that_of_the_file(path):
    target = dict(reversed(list(stripped().items())))
    before = list(surgeon.inspect(path))
    outcome = rewrite(path, STRIP, target=target)
    assert [f"{LONG}.{key}" for key in surgeon.inspect(path)] == before
    assert any("order of the file" in note for note in outcome.notes)
    assert_same(read(path), stripped())


def test_the_meta_device_needs_the_storages_in_order(tmp_path):
    path = write(tmp_path / "model.pt", tensors())
    rewrite(path, STRIP, target=dict(reversed(list(stripped().items()))))
    assert set(torch.load(path, map_location="meta", weights_only=True)) == set(stripped())


REFUSED = [
    ([{"drop": "**.bias"}], "its bytes would stay"),
    ([{"copy": {f"{LONG}.conv.bias": "second"}}], "a second tensor of the bytes"),
    ([{"cast": {"match": "**.fc.weight", "dtype": "float32"}}], "made anew"),
    ([{"transpose": {"match": "**.fc.weight"}}], "made anew"),
    ([{"tie": {f"{LONG}.conv.bias": "x"}}, {"drop": "**.weight"}], "its bytes would stay"),
]


@pytest.mark.parametrize(("rules", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_needs_other_bytes_is_refused_and_nothing_is_touched(path, rules, why):
    before = path.read_bytes()
    plan = surgeon.plan(str(path), rules)
    with pytest.raises(RulesError, match=why) as caught:
        surgeon.edit(plan)
    assert "-o OUT" in caught.value.hint
    assert obstacles(plan) == caught.value.problems
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_only_the_first_obstacles_are_told(path):
    plan = surgeon.plan(str(path), [{"cast": {"match": "**.{x:weight|bias}", "dtype": "float64"}}])
    assert [each.what for each in obstacles(plan)] == ["its bytes are made anew"] * 3 + ["in place, each tensor has to keep its bytes"]
    save_file({f"k{i}": torch.zeros(1) for i in range(9)}, path.with_name("many.safetensors"))
    many = obstacles(surgeon.plan(str(path.with_name("many.safetensors")), [{"cast": {"match": "**", "dtype": "float64"}}]))
    assert [each.what for each in many][5:] == ["and 4 more", "in place, each tensor has to keep its bytes"]


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        ("follow", "it follows the target's order, and the entries keep that of the file"),
        ("reset", "it is reset, and its bytes would stay in the file"),
        ("drop", "it is dropped, and its bytes would stay in the file"),
    ],
)
def test_an_optimizer_which_would_change_is_an_obstacle(tmp_path, optimizer, why):
    model = torch.nn.Linear(2, 2)
    made = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.randn(4, 2)).sum().backward()
    made.step()
    path = tmp_path / "run.pt"
    torch.save({"state_dict": model.state_dict(), "optimizer": made.state_dict()}, path)
    target = dict(reversed(list(model.state_dict().items())))
    found = obstacles(surgeon.plan(str(path), None, target, optimizer=optimizer))
    assert [(each.where, each.what) for each in found][:1] == [("optimizer state", why)]


def test_names_in_an_optimizers_groups_are_edited_in_place(tmp_path):
    model = torch.nn.Linear(2, 2)
    made = torch.optim.SGD(model.named_parameters(), 0.1)
    torch.save({"state_dict": model.state_dict(), "optimizer": made.state_dict()}, tmp_path / "run.pt")
    surgeon.edit(surgeon.plan(tmp_path / "run.pt", [{"add_prefix": "net."}]))
    found = torch.load(tmp_path / "run.pt", weights_only=True)
    assert found["optimizer"]["param_groups"][0]["param_names"] == list(found["state_dict"]) == ["net.weight", "net.bias"]


def room(path):
    return int.from_bytes(path.read_bytes()[:8], "little")


def test_a_header_may_fill_its_room_to_the_last_byte_and_no_further(tmp_path):
    path = write(tmp_path / "model.safetensors", tensors())
    rewrite(path, [{"rename": {f"{LONG}.steps": "s"}}, {"replace": {LONG: "x"}}])
    used = len(path.read_bytes()[8 : 8 + room(path)].rstrip(b" "))
    spare = room(path) - used
    before = path.read_bytes()
    with pytest.raises(RulesError, match=f"takes {room(path) + 1:,} bytes, and the file has room for {room(path):,}"):
        rewrite(path, [{"rename": {"s": "s" * (2 + spare)}}])
    assert path.read_bytes() == before
    rewrite(path, [{"rename": {"s": "s" * (1 + spare)}}])
    with safe_open(path, "pt") as file:
        assert "s" * (1 + spare) in file.keys()  # noqa: SIM118
        assert file.metadata()["note"] == "kept"


def test_metadata_of_the_header_stands_as_the_writer_would_have_it(tmp_path):
    path, other = write(tmp_path / "model.safetensors", tensors()), tmp_path / "other.safetensors"
    plan = surgeon.plan(str(path), STRIP)
    surgeon.write(plan, other)
    surgeon.edit(plan)
    first, second = (json.loads(each.read_bytes()[8 : 8 + room(each)]) for each in (path, other))
    assert first == {**second, "__metadata__": without_manifest(second["__metadata__"])}


def make_url(path):
    return "https://localhost:1/model.pt"


def make_folder(path):
    return str(path.parent)


def make_link(path):
    path.with_name("link.pt").symlink_to(path)
    return str(path.with_name("link.pt"))


def make_shard(path):
    return str(path.rename(path.with_name("model-00001-of-00002.safetensors")))


def make_sharded(path):
    surgeon.write(surgeon.plan(str(path)), path.with_name("shards"), max_shard_size=50)
    return str(path.with_name("shards") / "model.safetensors.index.json")


def make_legacy(path):
    torch.save(tensors(), path.with_name("old.pt"), _use_new_zipfile_serialization=False)
    return str(path.with_name("old.pt"))


def make_module(path):
    torch.save(torch.nn.Linear(2, 2), path.with_name("module.pt"))
    return str(path.with_name("module.pt"))


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (make_folder, RulesError, "a folder"),
        (make_link, DiskError, "symbolic link"),
        (make_shard, RulesError, "one of several files"),
        (make_sharded, RulesError, "several files"),
        (make_legacy, RulesError, "format torch-legacy"),
        (make_module, RulesError, "whole pickled module"),
    ],
)
def test_what_is_no_single_file_of_a_known_layout_is_refused(tmp_path, make, error, why):
    given = make(write(tmp_path / "model.safetensors", tensors()))
    with pytest.raises(error, match=why):
        surgeon.edit(surgeon.plan(given, []))


@pytest.mark.parametrize("given", [tensors(), torch.nn.Linear(2, 2)], ids=["a state_dict", "a module"])
def test_what_is_no_file_is_refused(given):
    with pytest.raises(RulesError, match="only a file on this machine"):
        surgeon.edit(surgeon.plan(given, []))


def test_a_header_alone_is_refused(path):
    with pytest.raises(RulesError, match="only a file"):
        surgeon.edit(surgeon.plan(surgeon.inspect(path), STRIP))


def test_a_plan_of_another_state_of_the_file_is_refused(path):
    plan = surgeon.plan(str(path), STRIP)
    surgeon.edit(plan)
    with pytest.raises(DiskError, match="has changed since"):
        surgeon.edit(plan)


def test_a_record_of_the_name_which_is_needed_is_an_obstacle(tmp_path):
    path = write(tmp_path / "model.pt", tensors())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"model/{REPLACED}", b"someone's")
    with pytest.raises(RulesError, match="holds a record 'replaced' already"):
        rewrite(path, STRIP)


def test_a_file_which_does_not_read_back_is_put_back(path, monkeypatch):
    before = path.read_bytes()
    plan = surgeon.plan(str(path), STRIP)
    monkeypatch.setattr("ckpt_surgeon.editing.differences", lambda *_: ["x: nothing instead of something"])
    with pytest.raises(SurgeryError, match="does not read back as planned, and was put back"):
        surgeon.edit(plan)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_while_a_journal_stands_nothing_is_planned_from_the_file(path):
    before = path.read_bytes()
    with open(journal_path(str(path)), "wb") as file:
        file.write(b"whoever wrote this")
    for read_it in (surgeon.inspect, surgeon.plan, lambda given: surgeon.diff(given, tensors())):
        with pytest.raises(LockedError, match="in-place edit"):
            read_it(str(path))
    assert path.read_bytes() == before


NAMES = st.lists(st.from_regex(r"[a-z]{1,6}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True), min_size=1, max_size=6, unique=True)


@settings(max_examples=25)
@given(NAMES, st.data(), st.sampled_from([".pt", ".safetensors"]))
def test_any_new_names_are_those_which_every_reader_finds(tmp_path_factory, keys, data, suffix):
    path = tmp_path_factory.mktemp("names") / f"model{suffix}"
    wanted = data.draw(st.permutations(keys))
    write(path, {f"{LONG * 2}.{key}": torch.full((i,), float(i)) for i, key in enumerate(keys)})
    rewrite(path, [{"rename": {f"{LONG * 2}.{key}": new for key, new in zip(keys, wanted, strict=True)}}])
    assert_same(read(path), {new: torch.full((i,), float(i)) for i, new in enumerate(wanted)})
