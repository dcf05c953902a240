"""A source which shrinks or is written over while it is read: nothing is published which is not all of one source."""

import os

import pytest
from fault_machines import Machine, in_place
from fault_scenarios import SCENARIOS, Stage, digest

from ckpt_surgeon.errors import CorruptError, DiskError, SurgeryError


def shrink(path):
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(1, 1))  # clocks may be too coarse to tell the two apart


READS = ("pread", "copy_range", "send_range")


class ChangingMachine(Machine):
    """Before its read number `turn` from a file, `change` happens to the source."""

    def __init__(self, turn, change, source):
        super().__init__()
        self.turn, self.change, self.source = turn, change, source

    def carry_out(self, name, call):
        if name in READS and self.reads() == self.turn:
            self.change(self.source)
        return call()

    def reads(self):
        return sum(map(self.calls.count, READS))


@pytest.mark.parametrize("change", [shrink, overwrite])
@pytest.mark.parametrize("scenario", [SCENARIOS[1], SCENARIOS[3], SCENARIOS[-2]], ids=lambda each: each.name)
def test_a_source_which_changes_is_an_error_or_was_read_before(tmp_path, scenario, change):
    stage, outcomes, machine = Stage(tmp_path, scenario), [], None
    kept, whole = stage.source.read_bytes(), {stage.new}
    change(stage.source)
    if ended(stage, Machine()) == 0:
        whole.add(digest(stage.out))  # what changes while it is opened may be opened anew
    while machine is None or machine.reads() >= machine.turn:
        stage.lay()
        stage.source.write_bytes(kept)
        machine = ChangingMachine(len(outcomes) + 1, change, stage.source)
        code = ended(stage, machine)
        outcomes.append(code)
        assert code in (0, CorruptError.exit_code, DiskError.exit_code)
        assert digest(stage.out) in (whole if code == 0 else {stage.old})
        assert os.listdir(stage.home) == [scenario.out]
    assert outcomes[-1] == 0
    assert any(outcomes)


def ended(stage, machine):
    """The exit code of a run on this machine."""
    try:
        with in_place(machine):
            stage.write()
    except SurgeryError as error:
        return error.exit_code
    return 0
