"""Whichever system call of a writer fails, or is its last: the old one or the new one stands there, and the next run succeeds."""

import errno

import pytest
from fault_edits import EDITS, staged
from fault_machines import LOOKING, FaultyMachine, Killed, Machine, MortalMachine, in_place
from fault_scenarios import SCENARIOS, Stage, digest

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.publishing import publish_folder

DONE, FAILED = 0, DiskError.exit_code
ALL = pytest.mark.parametrize("scenario", [*SCENARIOS, *EDITS], ids=lambda each: each.name)


def ended(stage, machine):
    """The exit code of a run on this machine; None when it was killed."""
    try:
        with in_place(machine):
            stage.write()
    except DiskError:
        return FAILED
    except Killed:
        return None
    return DONE


def calls_of(stage):
    """The names of the system calls of a run in which nothing goes wrong."""
    machine = Machine(lacks_exchange=stage.scenario.lacks_exchange)
    stage.lay()
    assert ended(stage, machine) == DONE
    return machine.calls


def numbers(calls, *, with_looks):
    return [i for i, name in enumerate(calls) if with_looks or name not in LOOKING]


def broken_promises(stage, make_machine, *, with_looks):
    """What goes wrong when each call in turn is the one at which `make_machine(number)` goes wrong."""
    calls, found = calls_of(stage), []
    for number in numbers(calls, with_looks=with_looks):
        stage.lay()
        code = ended(stage, make_machine(number))
        found += [f"call {number}, {calls[number]}: {each}" for each in stage.violations(code=code, killed=code is None)]
    assert len(calls) > 20
    return found


@ALL
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_call_which_fails_once(tmp_path, scenario, code):
    stage = staged(tmp_path, scenario)
    make = lambda number: FaultyMachine(number, code, lacks_exchange=scenario.lacks_exchange)  # noqa: E731
    assert broken_promises(stage, make, with_looks=code == errno.EIO) == []


@ALL
def test_a_disk_which_fails_from_some_call_on(tmp_path, scenario):
    stage = staged(tmp_path, scenario)
    make = lambda number: FaultyMachine(number, errno.EIO, lasts=True, lacks_exchange=scenario.lacks_exchange)  # noqa: E731
    assert broken_promises(stage, make, with_looks=False) == []


@ALL
@pytest.mark.parametrize("is_after", [False, True], ids=["before the call", "after the call"])
def test_a_kill(tmp_path, scenario, is_after):
    stage = staged(tmp_path, scenario)
    make = lambda number: MortalMachine(number, is_after=is_after, lacks_exchange=scenario.lacks_exchange)  # noqa: E731
    assert broken_promises(stage, make, with_looks=False) == []


def cut_between_the_two_steps(stage):
    """A run is killed where the old folder is put aside, and the new one has not taken its name."""
    stage.lay()
    second = [i for i, name in enumerate(calls_of(stage)) if name == "rename"][1]
    stage.lay()
    assert ended(stage, MortalMachine(second, is_after=False, lacks_exchange=True)) is None
    assert digest(stage.out) is None


def fail_in_the_middle(stage):
    with pytest.raises((ZeroDivisionError, DiskError)), publish_folder(str(stage.out), force=True):
        raise ZeroDivisionError


def test_a_folder_lost_between_the_two_steps_of_a_swap_is_given_back_by_a_run_which_then_fails(tmp_path):
    stage = Stage(tmp_path, SCENARIOS[-1])
    cut_between_the_two_steps(stage)
    fail_in_the_middle(stage)
    assert digest(stage.out) == stage.old


def test_a_folder_lost_between_the_two_steps_of_a_swap_survives_a_fault_of_the_next_run(tmp_path):
    stage = Stage(tmp_path, SCENARIOS[-1])
    for number in range(20):
        cut_between_the_two_steps(stage)
        with in_place(FaultyMachine(number, errno.EIO)):
            fail_in_the_middle(stage)
        fail_in_the_middle(stage)
        assert digest(stage.out) == stage.old, number


@pytest.mark.parametrize("scenario", EDITS, ids=lambda each: each.name)
@pytest.mark.parametrize(("name", "turn"), [("pwrite", -1), ("truncate", -1), ("fsync", -2)])  # the last fsync is that of the folder
def test_whoever_recovers_may_be_killed_too_at_any_call(tmp_path, scenario, name, turn):
    stage = staged(tmp_path, scenario)
    last = [i for i, each in enumerate(calls_of(stage)) if each == name][turn]

    def cut():
        stage.lay()
        assert ended(stage, MortalMachine(last, is_after=True)) is None
        assert stage.journal.exists()

    cut()
    machine = Machine()
    with in_place(machine):
        surgeon.recover(stage.out)
    for number in numbers(machine.calls, with_looks=False):
        cut()
        with pytest.raises(Killed), in_place(MortalMachine(number, is_after=number % 2 == 0)):
            surgeon.recover(stage.out)
        assert stage.violations(code=None, killed=True) == [], machine.calls[number]
