"""Running an emitted program: interpreters, time limits, failures. `network.py` is a stand-in here; Lava is not needed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nmap_loihi2 import vendor
from nmap_loihi2.vendor import INTERPRETER_VARIABLE, find_lava, run_lava, run_program

INPUTS = np.ones((2, 3, 4), np.int64)
STAND_IN = """
import sys
import numpy as np
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
inputs = np.load(arguments["--input"])["inputs"]
assert inputs.dtype == np.int32 and sys.argv[-1] == "--probe"
spikes = np.full((len(inputs), int(arguments["--steps"]), 1), inputs.sum(), np.int32)
np.savez(arguments["--output"], **{"spikes": spikes, "out.spikes": spikes, "a b.spikes": spikes + 1})
"""


@pytest.fixture
def _found(monkeypatch):
    monkeypatch.setattr(vendor, "find_lava", lambda: (sys.executable, "9.9"))


def program(folder, text):
    (folder / "network.py").write_text(text)
    return folder


@pytest.mark.usefixtures("_found")
def test_spikes_of_every_population(tmp_path):
    result = run_lava(program(tmp_path, STAND_IN), INPUTS, 5, 60)
    assert (result.name, result.version, result.missing) == ("lava-nc", "9.9", None)
    assert set(result.spikes) == {"out", "a b"}
    assert result.spikes["out"].tolist() == [[[24]] * 5] * 2


@pytest.mark.usefixtures("_found")
def test_a_run_that_hangs_is_stopped_with_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    text = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        f"if child: open({str(pid_file)!r}, 'w').write(str(child))\n"
        "time.sleep(600)\n"
    )
    start = time.monotonic()
    result = run_lava(program(tmp_path, text), INPUTS, 5, 2)
    assert time.monotonic() - start < 30
    assert result.spikes == {}
    assert "did not finish within 2 s" in result.missing
    child = int(pid_file.read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if _state(child) == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child of the stopped run still lives")


def _state(pid):
    """Process state letter; a killed orphan may stay a zombie where nothing reaps it."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().rsplit(")", 1)[1].split()[0]


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize(("text", "reason"), [
    ("raise ValueError('a dead end')", "status 1: ValueError: a dead end"),
    ("import sys; sys.exit(4)", "status 4: no message"),
    ("pass", "status 0: no message"),
    ("import sys; sys.exit('network.py: Dense: too much\\nresource_tracker: leaked')", "status 1: Dense: too much"),
    ("import sys; sys.exit('ValueError: odd\\nresource_tracker: leaked')", "status 1: ValueError: odd"),
])
def test_a_failed_run_gives_its_last_words(tmp_path, text, reason):
    result = run_lava(program(tmp_path, text), INPUTS, 5, 60)
    assert result.missing.endswith(reason)
    assert result.spikes == {}


@pytest.mark.usefixtures("_found")
@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="this system does not list a process's children")
@pytest.mark.parametrize(("death", "reason"), [
    ("os.kill(os.getpid(), 9)", "a process of Lava was killed by signal 9"), ("os._exit(7)", "a process of Lava ended with status 7"),
])
def test_a_dead_child_ends_the_wait_for_it(tmp_path, death, reason):
    text = f"import os, time\nif os.fork() == 0: {death}\ntime.sleep(600)\n"
    start = time.monotonic()
    result = run_lava(program(tmp_path, text), INPUTS, 5, 300)
    assert time.monotonic() - start < 60
    assert result.missing.endswith(reason)


@pytest.mark.usefixtures("_found")
def test_children_that_end_well_are_waited_for(tmp_path):
    result = run_lava(program(tmp_path, f"import os, time\nif os.fork() == 0: os._exit(0)\ntime.sleep(1.5)\n{STAND_IN}"), INPUTS, 5, 60)
    assert result.missing is None


@pytest.mark.usefixtures("_found")
def test_states_are_recorded_when_asked_for(tmp_path):
    text = STAND_IN.replace('dict(zip(sys.argv[1::2], sys.argv[2::2]))', 'dict(zip(sys.argv[1:-2:2], sys.argv[2:-2:2]))').replace(
        'np.savez(', 'assert sys.argv[-2] == "--states"; np.savez('
    ).replace('"a b.spikes"', '"out.u": spikes * 2, "a b.spikes"')
    run = run_program(program(tmp_path, text), INPUTS, 5, 60, states=True)
    assert run.missing is None
    assert set(run.spikes) == {"out", "a b"}
    assert run.states.keys() == {"out.u"}
    assert run.states["out.u"].tolist() == [[[48]] * 5] * 2


@pytest.fixture
def _elsewhere(monkeypatch):
    """A Python without Lava."""
    def absent(name):
        raise vendor.PackageNotFoundError(name)

    monkeypatch.setattr(vendor, "version", absent)
    monkeypatch.delenv(INTERPRETER_VARIABLE, raising=False)


@pytest.mark.usefixtures("_elsewhere")
def test_without_lava_the_reason_names_both_ways(tmp_path):
    result = run_lava(program(tmp_path, STAND_IN), INPUTS, 5, 60)
    assert result.version is None
    assert 'pip install "nmap-snn[lava]"' in result.missing
    assert "Python 3.10" in result.missing
    assert INTERPRETER_VARIABLE in result.missing


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("content", [None, "#!/bin/sh\necho no such package >&2\nexit 1\n", "#!/bin/sh\n"])
def test_a_wrong_interpreter_is_named(tmp_path, monkeypatch, content):
    interpreter = tmp_path / "python3.10"
    if content is not None:
        interpreter.write_text(content)
        interpreter.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(interpreter))
    reason = find_lava()
    assert isinstance(reason, str)
    assert f"{INTERPRETER_VARIABLE} is `{interpreter}`" in reason
    if content is not None:
        assert reason.endswith("no such package" if "echo" in content else "does not answer as a Python does")


@pytest.mark.usefixtures("_elsewhere")
def test_another_interpreter_is_used(tmp_path, monkeypatch):
    interpreter = tmp_path / "python3.10"
    interpreter.write_text("#!/bin/sh\necho 0.10.0\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(interpreter))
    assert find_lava() == (str(interpreter), "0.10.0")


@pytest.mark.usefixtures("_elsewhere")
def test_an_interpreter_that_never_answers_is_left_with_what_it_started(tmp_path, monkeypatch):
    interpreter, pid = tmp_path / "python3.10", tmp_path / "pid"
    # The child keeps the pipes open.
    interpreter.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {pid}\nwait\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(interpreter))
    assert vendor._ASK_TIMEOUT == 20
    monkeypatch.setattr(vendor, "_ASK_TIMEOUT", 1.5)
    start = time.monotonic()
    assert find_lava() == f"{INTERPRETER_VARIABLE} is `{interpreter}`, which did not answer within 1.5 s"
    assert time.monotonic() - start < 60
    for _ in range(100):
        try:
            if _state(int(pid.read_text())) == "Z":
                break
        except FileNotFoundError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("what the interpreter started still lives")
