"""What reading rules loads, and what the values alone load."""

import subprocess
import sys

import pytest

import ckpt_surgeon.rules

HEAVY = "{'torch', 'numpy', 'yaml', 'regex', 'rapidfuzz'}"


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("from ckpt_surgeon.rules import Rules, Rule, Allow; Rules().digest", "[]"),
        ("from ckpt_surgeon.rules import as_rules; as_rules(None)", "[]"),
        ("from ckpt_surgeon.rules import parse_rules; parse_rules('version: 1', 'r')", "['yaml']"),
        ("from ckpt_surgeon.rules import parse_rules; parse_rules('version: 1\\nrules: [{drop: a}]', 'r')", "['yaml']"),
        ("from ckpt_surgeon.rules import as_rules; as_rules([{'drop': 'a'}])", "[]"),
    ],
)
def test_no_more_is_loaded_than_is_needed(code, loaded):
    script = f"import sys\n{code}\nprint(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == loaded


def test_every_public_name_is_there_and_no_other():
    assert [name for name in ckpt_surgeon.rules.__all__ if not hasattr(ckpt_surgeon.rules, name)] == []
    with pytest.raises(AttributeError, match="nothing"):
        ckpt_surgeon.rules.nothing  # noqa: B018
