"""One run of one command: what it says and how it ends is held to, its memory is its own and anonymous."""

import mmap
import sys

import pytest

from benchmarks.measuring import Job, JobError, run

MIB = 1024**2
HOLD = "; import time; time.sleep(0.3)"


def python(code: str, **rest) -> Job:
    return Job("python", (sys.executable, "-c", code), **rest)


def test_pages_of_a_mapped_file_are_not_anonymous_memory(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 64 * MIB)
    mapped = run(
        python(f"import mmap; f = open({str(path)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot={mmap.PROT_READ}); sum(m[::4096])" + HOLD)
    )
    taken = run(python(f"taken = b'w' * {64 * MIB}" + HOLD))
    assert mapped.anonymous < 32
    assert 64 <= taken.anonymous < 96
    assert min(mapped.resident, taken.resident) >= 64


def test_time_of_the_processor_is_not_time_asleep():
    found = run(python("import time; time.sleep(0.3)"))
    assert found.wall - found.cpu > 0.25


@pytest.mark.parametrize(
    ("job", "wrong"),
    [
        (python("import sys; sys.exit('no such key')"), "exit 1 instead of 0: no such key"),
        (python("import os; os.kill(os.getpid(), 9)"), "exit -9 instead of 0"),
        (python("print('434 of 435')", says="435 of 435"), "it does not say '435 of 435': 434 of 435"),
        (python("", statuses=(3,)), "exit 0 instead of 3"),
    ],
)
def test_a_job_which_ends_otherwise_is_refused(job, wrong):
    with pytest.raises(JobError, match=wrong):
        run(job)


@pytest.mark.parametrize("job", [python("import sys; sys.exit(3)", statuses=(3,)), python("print('all well')", says="well")])
def test_a_job_which_ends_as_it_has_to_is_measured(job):
    assert run(job).wall > 0


def test_an_old_output_is_gone_and_a_new_one_prepared_before_the_run(tmp_path):
    output, log = tmp_path / "out", tmp_path / "log"
    output.mkdir()
    (output / "old").write_text("old")
    before = ((sys.executable, "-c", f"import os; os.mkdir({str(output)!r})"),)
    run(python(f"import os; open({str(log)!r}, 'w').write(str(os.listdir({str(output)!r})))", output=str(output), before=before))
    assert log.read_text() == "[]"
