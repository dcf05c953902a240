"""`sources:` in a rules file: paths beside the file, and nothing which would run code or ask the network."""

import os

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.reader import as_rules, parse_rules, read_rules


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "rules.yaml").write_text("version: 1\nsources: {ema: sub/ema.pt, other: /abs/x.pt}\n")
    assert read_rules(tmp_path / "rules.yaml").sources == {"ema": str(tmp_path / "sub/ema.pt"), "other": "/abs/x.pt"}


def test_a_factory_is_a_path_here():
    assert as_rules({"version": 1, "sources": {"ema": "pkg.module:factory"}}).sources == {"ema": os.path.join(".", "pkg.module:factory")}


REFUSED = {
    "a list": ("sources: [a.pt]", "f:2:10: sources is a mapping"),
    "a name": ("sources: {my-ema: a.pt}", "f:2:11: sources: 'my-ema' is no alias"),
    "re": ("sources: {re: a.pt}", "f:2:11: sources: 're' is no alias"),
    "no path": ("sources: {ema: 3}", "f:2:16: sources: ema is 3; a path is wanted"),
    "nothing": ("sources: {ema: null}", "f:2:16: sources: ema is nothing"),
    "a URL": ("sources: {ema: 'https://host/a.pt'}", "f:2:16: sources: ema is a URL.*--source ema="),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_source_is_refused(text, says):
    with pytest.raises(RulesError, match=f"(?s){says}"):
        parse_rules(f"version: 1\n{text}\n", "f")


def test_documents_may_share_a_source_but_not_an_alias():
    one, two, three = (as_rules({"version": 1, "sources": {"ema": path}}) for path in ("a.pt", "a.pt", "b.pt"))
    assert one.joined(two).sources == one.sources
    with pytest.raises(RulesError, match="two sources are called 'ema'"):
        one.joined(three)
