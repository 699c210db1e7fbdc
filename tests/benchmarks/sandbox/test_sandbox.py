"""The sandbox with programs that mean no harm, and where it cannot be had."""

from __future__ import annotations

import math
import os
import signal
import sys

import pytest

from benchmarks.sandbox import (
    Limits,
    NotAvailable,
    Outcome,
    Program,
    SandboxKind,
    available,
    run_many,
    worker,
)
from benchmarks.sandbox.availability import candidates
from benchmarks.sandbox.code_checks import human_eval_problem, mbpp_problem
from benchmarks.sandbox.inside import wire
from benchmarks.sandbox.launch import command
from benchmarks.sandbox.worker import Sandbox
from harness.errors import FileFormatError, UsageError

confined = pytest.mark.skipif(
    isinstance(available(), NotAvailable), reason=f"no sandbox can be had: {getattr(available(), 'reason', '')}"
)


@pytest.fixture(params=["sandbox", "none"])
def box(request):
    """The best sandbox there is, and none: verdicts must not depend on which."""
    kind = SandboxKind("none") if request.param == "none" else available()
    if isinstance(kind, NotAvailable):
        pytest.skip(kind.reason)
    with Sandbox(kind) as opened:
        yield opened


def run(
    box: Sandbox, source: str, test: str = "", names: tuple[str, ...] = (), limits: Limits | None = None
) -> Outcome:
    return box.run(Program(source, test, names), limits or Limits())


# Verdicts


def test_right_and_wrong(box):
    source = "def add(a, b):\n    return a + b\n"
    assert run(box, source, "assert add(1, 2) == 3") == Outcome("passed", "", 0, "", "", pytest.approx(0, abs=30))
    wrong = run(box, source, "x = 1\nassert add(1, 2) == 4, 'not four'")
    assert (wrong.status, wrong.reason) == ("failed", "AssertionError: not four (line 2 of the test)")
    assert wrong.seconds > 0.0


def test_a_program_without_a_test_passes_by_running_to_its_end(box):
    done = run(box, "print('hello')\nimport sys\nprint('there', file=sys.stderr)")
    assert (done.status, done.exit_status, done.stdout, done.stderr) == ("passed", 0, "hello\n", "there\n")
    failed = run(box, "print('before')\n1 / 0")
    assert (failed.status, failed.reason, failed.stdout) == (
        "failed",
        "ZeroDivisionError: division by zero",
        "before\n",
    )
    assert "<program>" in failed.stderr and "ZeroDivisionError" in failed.stderr


def test_how_a_program_ended(box):
    left = run(box, "import os\nos._exit(7)", "assert True")
    assert (left.status, left.exit_status) == ("failed", 7)
    crashed = run(box, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert (crashed.status, crashed.exit_status) == ("killed", -signal.SIGSEGV)
    assert "signal 11" in crashed.reason


def test_time_limits(box):
    slow = run(box, "import time\ntime.sleep(30)", limits=Limits(wall_s=0.5))
    assert (slow.status, slow.exit_status) == ("timeout", None)
    assert slow.seconds >= 0.5
    busy = run(box, "while True: pass", limits=Limits(cpu_s=1))
    assert busy.status == "timeout" and "1 s of processor time" in busy.reason


def test_output_is_cut(box):
    outcome = run(box, "print('x' * 200_000)")
    assert outcome.passed and outcome.stdout == "x" * (64 << 10)


def test_a_test_that_cannot_be_run_is_not_the_program_s_fault(box):
    broken = run(box, "x = 1", "assert (")
    assert broken.status == "sandbox_error" and "not valid Python" in broken.reason and not broken.measured
    callback = run(box, "def apply(f):\n    return f(1)", "assert apply(lambda x: x) == 1")
    assert callback.status == "sandbox_error" and "function" in callback.reason


def test_hash_seed_is_fixed(box):
    source = "def order():\n    return list({str(n) for n in range(50)})\n"
    first = run(box, source + "print(order())").stdout
    assert first and first == run(box, source + "print(order())").stdout


def test_random_numbers_differ_between_processes(box):
    source = "import random\nprint(random.random())"
    assert run(box, source).stdout != run(box, source).stdout


def test_namespace_is_upstream_s(box):
    """HumanEval executes programs in an empty namespace, where `__name__` is that of the built-ins."""
    source = "if __name__ == '__main__':\n    raise SystemExit\nname = __name__"
    assert run(box, source, "assert name == 'builtins'").passed


# What the test sees of the program


@pytest.mark.parametrize(
    "value",
    [
        "None", "True", "0", "-1", "2**100", "-(2**64)", "1.5", "float('inf')", "-0.0", "1e-320", "2j",
        "'text ß \\ud800'", "b'\\x00'", "bytearray(b'a')", "[1, [2, (3,)]]", "{1: {2: 3}}", "{1, 2}",
        "frozenset({(1, 2)})", "range(1, 9, 2)", "{1: 2}.keys()", "{1: 2}.items()", "...", "(int, str)",
    ],
)  # fmt: skip
def test_values_come_back_as_they_are(box, value):
    test = f"got, wanted = f(), {value}\nassert got == wanted and type(got) is type(wanted), got"
    assert run(box, f"def f():\n    return {value}", test).passed
    assert run(box, "def same(x):\n    return x", f"wanted = {value}\nassert same(wanted) == wanted").passed


def test_nan_comes_back():
    data = wire.encode(float("nan"), wire.no_objects)
    assert math.isnan(wire.decode(data, wire.no_handles))


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("from collections import Counter\ndef f():\n    return Counter('aab')", "assert f() == {'a': 2, 'b': 1}"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f():\n    return P(1, 2)",
         "assert f() == (1, 2)"),
        ("def f():\n    yield from (1, 2)", "assert list(f()) == [1, 2] and set(f()) == {1, 2}"),
        ("def f():\n    return map(str, [1])", "assert [x for x in f()] == ['1']"),
        ("def f():\n    return map(str, [1])", "assert f() != ['1']"),
        ("class P:\n    def __init__(self, x):\n        self.x = x\ndef f(p):\n    return p.x",
         "p = P(3)\nassert f(p) == 3 and p.x == 3\np.x = P(4)\nassert p.x.x == 4"),
        ("class S:\n    __len__ = lambda self: 0\n    __getitem__ = lambda self, i: i\n    __str__ = lambda self: 's'",
         "s = S()\nassert len(s) == 0 and not s and s[7] == 7 and str(s) == 's'"),
        ("LIMIT = 5\ndef f():\n    return LIMIT", "assert f() == LIMIT"),
        ("def helper(x):\n    return -x\ndef f(x):\n    return x", "assert helper(f(2)) == -2"),
        ("def f(*a, key=None):\n    return a, key", "assert f(1, 2, key='k') == ((1, 2), 'k')"),
    ],
)  # fmt: skip
def test_objects_of_the_program(box, source, test):
    outcome = run(box, source, test)
    assert outcome.passed, outcome


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        ("ValueError('no')", "ValueError"),
        ("KeyError('k')", "KeyError"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')", "ValueError"),
        ("type('Own', (TypeError,), {})('no')", "TypeError"),
        ("type('Own', (Exception,), {'__str__': None})('no')", "Exception"),
        ("ExceptionGroup('no', [ValueError()])", "Exception"),
    ],
)
def test_exceptions_come_through(box, raised, caught):
    test = f"try:\n    f()\nexcept {caught}:\n    caught = True\nassert caught"
    outcome = run(box, f"def f():\n    raise {raised}", test)
    assert outcome.passed, outcome
    assert run(box, f"def f():\n    raise {raised}", "f()").status == "failed"


def test_names_of_built_ins(box):
    source = "def sum(a, b):\n    return a + b\ndef len(x):\n    return 99\n"
    assert run(box, source, "assert sum(1, 2) == 3 and len([1]) == 1", names=("sum",)).passed
    assert run(box, source, "assert sum([1, 2]) == 3").passed


def test_only_the_names_that_are_wanted(box):
    source = "def helper():\n    return 1\ndef f():\n    return helper()"
    assert run(box, source, "assert f() == 1", names=("f",)).passed
    outcome = run(box, source, "assert helper() == 1", names=("f",))
    assert outcome.reason == "NameError: name 'helper' is not defined (line 1 of the test)"


def test_what_is_given_is_the_test_s_own(box):
    """HumanEval/38 and 50 decode what a helper of the prompt encodes; a program must not bring its own helper."""
    given = 'def encode(text):\n    return text[::-1]\n\ndef decode(text):\n    """Undo `encode`."""\n'
    test = "def check(candidate):\n    assert candidate(encode('abc')) == 'abc' == decode(encode('abc'))\ncheck(decode)"
    right = Program(given + "    return text[::-1]", test, ("decode",), given)
    cheating = Program(given + "    return text\ndef encode(text):\n    return text", test, ("decode",), given)
    assert box.run(right, Limits()).passed
    assert box.run(cheating, Limits()).status == "failed"
    assert box.run(Program("", "", (), "def f(:"), Limits()).status == "sandbox_error"


def test_a_name_the_program_lacks(box):
    outcome = run(box, "", "assert f() == 1")
    assert outcome.reason == "NameError: name 'f' is not defined (line 1 of the test)"


# Many programs


@pytest.mark.parametrize("workers", [1, 3])
def test_run_many(workers):
    programs = (Program(f"def f():\n    return {number}", "assert f() % 3 == 0") for number in range(20))
    outcomes = dict(run_many(programs, workers, allow_unsandboxed=True))
    assert sorted(outcomes) == list(range(20))
    assert [outcomes[number].passed for number in range(20)] == [number % 3 == 0 for number in range(20)]


def test_run_many_takes_programs_as_they_are_needed():
    taken = []

    def programs():
        for number in range(1000):
            taken.append(number)
            yield Program("")

    stream = run_many(programs(), 1, allow_unsandboxed=True)
    next(stream)
    stream.close()
    assert len(taken) < 10


def test_no_workers():
    with pytest.raises(UsageError, match="0 workers"):
        next(run_many([Program("")], 0, kind=SandboxKind("none")))


@confined
def test_a_lost_sandbox_is_no_verdict_and_is_replaced():
    kind = available()
    assert isinstance(kind, SandboxKind)
    with Sandbox(kind) as box:
        assert run(box, "").passed
        assert box._process is not None
        os.killpg(box._process.pid, signal.SIGKILL)
        box._process.wait()
        lost = run(box, "")
        assert lost.status == "sandbox_error" and "sandbox" in lost.reason
        assert run(box, "").passed


def test_closing_ends_every_process(box):
    assert run(box, "").passed
    process = box._process
    assert process is not None
    box.close()
    box.close()
    assert process.poll() is not None


# Where no sandbox can be had


@pytest.fixture
def nowhere(monkeypatch):
    available.cache_clear()
    monkeypatch.setattr("benchmarks.sandbox.availability.candidates", list)
    yield
    available.cache_clear()


def test_not_available_is_a_reason(nowhere):
    assert isinstance(available(), NotAvailable)
    ((_, outcome),) = run_many([Program("print(1)")], 1)
    assert outcome.status == "sandbox_error" and not outcome.stdout
    assert "no sandbox" in outcome.reason and "--allow-unsandboxed-code" in outcome.reason
    assert [each.status for _, each in run_many([Program(""), Program("")], 2)] == ["sandbox_error"] * 2


def test_unsandboxed_only_when_allowed(nowhere):
    ((_, outcome),) = run_many([Program("print(1)")], 1, allow_unsandboxed=True)
    assert outcome.stdout == "1\n"


def test_every_attempt_is_told(monkeypatch):
    available.cache_clear()
    broken = [SandboxKind("bubblewrap"), SandboxKind("namespaces", user_namespace=True)]
    monkeypatch.setattr("benchmarks.sandbox.availability.candidates", lambda: broken)
    monkeypatch.setattr(
        "benchmarks.sandbox.worker.command", lambda *_: [sys.executable, "-c", "raise OSError('not allowed')"]
    )
    found = available()
    available.cache_clear()
    assert isinstance(found, NotAvailable)
    assert "bubblewrap: sandbox_error" in found.reason and "namespaces (user namespace): sandbox_error" in found.reason
    assert "not allowed" in found.reason


def test_without_bubblewrap_namespaces_are_tried(monkeypatch):
    monkeypatch.setattr("benchmarks.sandbox.availability.shutil.which", lambda _: None)
    assert {kind.name for kind in candidates()} <= {"namespaces"}


def test_a_command_that_is_not_there(monkeypatch):
    monkeypatch.setattr("benchmarks.sandbox.worker.command", lambda *_: ["/nonexistent/bwrap"])
    ((_, outcome),) = run_many([Program("")], 1, kind=SandboxKind("bubblewrap"))
    assert outcome.status == "sandbox_error" and "/nonexistent/bwrap" in outcome.reason


def test_bubblewrap_command_shows_libraries_only():
    arguments = command(SandboxKind("bubblewrap"), Limits(), (3, 4, 5))
    shown = [arguments[at + 2] for at, each in enumerate(arguments) if each == "--ro-bind"]
    assert shown and not {"/", "/usr", "/home", "/root", "/etc", "/proc", "/var"} & set(shown)
    for flag in ("--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--clearenv", "--remount-ro"):
        assert flag in arguments


@pytest.mark.parametrize(
    ("name", "value"), [("wall_s", 0), ("cpu_s", -1), ("memory_bytes", 1), ("processes", 1), ("open_files", 3)]
)
def test_impossible_limits(name, value):
    with pytest.raises(UsageError, match=name):
        Limits(**{name: value})


# Messages


def test_garbage_is_never_more_than_an_error():
    import random

    rng = random.Random(0)
    valid = wire.encode([1, "two", {3: (4.0, {5})}, range(3), b"6", 7j], wire.no_objects)
    n_errors = 0
    for _ in range(20_000):
        data = bytearray(valid)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            wire.decode(bytes(data[: rng.randint(0, len(data))]), wire.no_handles)
        except wire.WireError:
            n_errors += 1
    assert n_errors > 10_000


def test_depth_and_objects_are_refused():
    nested: list[object] = []
    for _ in range(300):
        nested = [nested]
    with pytest.raises(wire.CannotCross, match="deep"):
        wire.encode(nested, wire.no_objects)
    with pytest.raises(wire.CannotCross, match="object"):
        wire.encode(object(), wire.no_objects)
    with pytest.raises(wire.WireError):
        wire.decode(b"l\x00\x00\x00\x01" * 300 + b"N", wire.no_handles)


def test_frames():
    out, into = os.pipe()
    try:
        wire.send(into, b"abc")
        wire.send(into, b"")
        assert (wire.receive(out), wire.receive(out)) == (b"abc", b"")
        os.write(into, b"\xff\xff\xff\xff")
        with pytest.raises(wire.WireError, match="4294967295"):
            wire.receive(out)
        os.write(into, b"\x00\x00\x00\x09short")
        os.close(into)
        with pytest.raises(wire.WireError, match="cut off"):
            wire.receive(out)
        assert wire.receive(out) is None
    finally:
        os.close(out)


# Answers to benchmarks

HUMAN_EVAL_ROW = {
    "task_id": "HumanEval/999",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
MBPP_ROW = {
    "task_id": 999,
    "text": "Write a function to sum two numbers.",
    "code": "class Box:\r\n  pass\r\ndef sum(a, b):\r\n  return a + b",
    "test_list": ["assert sum(1, 2) == 3", "assert sum(2, 2) == 4"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


def test_human_eval_programs(box):
    problem = human_eval_problem(HUMAN_EVAL_ROW)
    assert problem.name == "HumanEval/999" and problem.names == ("double",)
    answers = {
        problem.solution: True,
        "    return x + x": True,
        "    return x": False,
        "    pass\n\ndef double(x):\n    return x * 2": True,
        "def double(x):\n    return x * 2": True,
        "\nreturn 4": False,
        "": False,
    }
    found = {answer: box.run(problem.program(answer), Limits()).passed for answer in answers}
    assert found == answers | {"": False}


def test_mbpp_programs(box):
    problem = mbpp_problem(MBPP_ROW)
    assert problem.names == ("sum",)
    assert box.run(problem.program(problem.solution), Limits()).passed
    assert not box.run(problem.program("def sum(a, b):\n    return 3"), Limits()).passed
    imports = mbpp_problem(
        {
            "task_id": 1,
            "code": "def f(): return 4",
            "test_imports": ["import math"],
            "test_list": ["assert math.sqrt(16) == f()"],
        }
    )
    assert box.run(imports.program(imports.solution), Limits()).passed
    setup = mbpp_problem(MBPP_ROW | {"test_setup_code": "three = 3", "test_list": ["assert sum(1, 2) == three"]})
    assert box.run(setup.program(setup.solution), Limits()).passed
    row = {
        "task_id": 2,
        "code": "import sys, re\ndef f():\n  return sys.maxsize",
        "test_list": ["assert f() == sys.maxsize"],
    }
    imported = mbpp_problem(row)
    assert (imported.given, imported.names) == ("import sys, re", ("f",))
    assert box.run(imported.program(imported.solution), Limits()).passed


@pytest.mark.parametrize("field", ["task_id", "prompt", "entry_point", "canonical_solution", "test"])
def test_malformed_human_eval(field):
    row = {name: value for name, value in HUMAN_EVAL_ROW.items() if name != field}
    with pytest.raises(FileFormatError, match=field):
        human_eval_problem(row)


@pytest.mark.parametrize(
    ("field", "value"),
    [("task_id", "one"), ("code", None), ("test_list", "assert"), ("test_list", [1]), ("code", "def f(:")],
)
def test_malformed_mbpp(field, value):
    with pytest.raises(FileFormatError, match=field):
        mbpp_problem(MBPP_ROW | {field: value})


@confined
def test_sandboxes_started_side_by_side_do_not_close_each_others_checker(monkeypatch):
    # `functools.cache` lets two threads make the file at once and keeps one; the other closes with its last reference.
    monkeypatch.setattr(worker, "checker_code", worker.checker_code.__wrapped__)
    found = list(run_many([Program("x = 1", "assert x == 1")] * 4, workers=2))
    assert [outcome.status for _, outcome in found] == ["passed"] * 4
