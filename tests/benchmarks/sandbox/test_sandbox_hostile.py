"""Hostile programs: each tries to do harm, in every kind of sandbox that can be had, and each one fails to."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sandbox import Limits, Outcome, Program
from benchmarks.sandbox.availability import candidates
from benchmarks.sandbox.worker import Sandbox

LIMITS = Limits(wall_s=20.0, cpu_s=2, memory_bytes=256 << 20, output_bytes=1 << 20, scratch_bytes=8 << 20)
BRIEF = replace(LIMITS, wall_s=1.5)
HONEST = Program("def double(x):\n    return 2 * x\n", "assert double(4) == 8")
KINDS = [pytest.param(kind, id=str(kind)) for kind in candidates()]
if not any(kind.name == "bubblewrap" for kind in candidates()):
    KINDS.append(pytest.param(None, id="bubblewrap", marks=pytest.mark.skip(reason="bwrap is not installed")))


@pytest.fixture(scope="module", params=KINDS)
def sandbox(request):
    kind = request.param
    with Sandbox(kind) as opened:
        first = opened.run(HONEST, LIMITS)
        if first.status == "sandbox_error":
            pytest.skip(f"{kind}: {first.reason}")
        assert first.passed, first
        yield opened


def attack(sandbox: Sandbox, source: str, test: str, limits: Limits = LIMITS, names: tuple[str, ...] = ()) -> Outcome:
    """Run a hostile program, and see that the sandbox serves the next one as ever."""
    outcome = sandbox.run(Program(source, test, names), limits)
    assert outcome.measured, outcome
    after = sandbox.run(HONEST, LIMITS)
    assert after.passed, after
    return outcome


def contained(sandbox: Sandbox, source: str, test: str, limits: Limits = LIMITS) -> Outcome:
    """Run a program that looks for a way out and reports; its test says that it found none."""
    outcome = attack(sandbox, source, test, limits)
    assert outcome.passed, outcome
    return outcome


# Using up the machine


def test_fork_bomb_is_counted(sandbox):
    bomb = """
import os, time

def bomb():
    started = 0
    while started < 5000:
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            break
        started += 1
    return started
"""
    outcome = attack(sandbox, bomb, f"n = bomb(); assert 0 < n <= {LIMITS.processes}, n")
    assert outcome.passed or (outcome.status == "killed" and "processes" in outcome.reason), outcome


def test_fork_bomb_without_mercy_ends(sandbox):
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
    outcome = attack(sandbox, bomb, "assert False", BRIEF)
    assert outcome.status in {"timeout", "killed", "failed"}


def test_threads_are_counted(sandbox):
    source = """
import threading, time

def threads():
    started = 0
    try:
        while started < 5000:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    return started
"""
    contained(sandbox, source, f"assert threads() <= {LIMITS.processes}")


def test_nothing_outlives_its_program(sandbox):
    name = f"out{os.getpid() % 100000}"
    source = f"""
import ctypes, os, time

def leave():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
            for fd in range(64):
                try: os.close(fd)
                except OSError: pass
            time.sleep(600)
        os._exit(0)
    os.wait()
    time.sleep(0.1)
    return True
"""
    contained(sandbox, source, "assert leave()")
    alive = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            alive.append(comm.read_text().strip())
        except OSError:
            continue
    assert name not in alive


@pytest.mark.parametrize("unit", ["bytearray(10**7)", "[0] * 10**6", "'x' * 10**7"])
def test_memory_of_one_process(sandbox, unit):
    outcome = attack(sandbox, f"hoard = []\nwhile True:\n    hoard.append({unit})\n", "")
    assert outcome.status in {"failed", "killed"}
    assert "MemoryError" in outcome.reason or "memory" in outcome.reason


def test_memory_of_many_processes(sandbox):
    source = """
import os, time
for _ in range(12):
    if os.fork() == 0:
        hoard = bytearray(100 * 2**20)
        for at in range(0, len(hoard), 4096):
            hoard[at] = 1
        time.sleep(60)
time.sleep(60)
"""
    outcome = attack(sandbox, source, "")
    assert outcome.status == "killed" and "memory" in outcome.reason


def test_memory_no_limit_counts(sandbox):
    source = """
import ctypes, os

def hidden_memory():
    libc = ctypes.CDLL(None, use_errno=True)
    got = []
    try:
        got.append(os.memfd_create("hoard"))
    except OSError:
        pass
    if libc.shmget(0, ctypes.c_size_t(2**30), 0o1600) != -1:
        got.append("shmget")
    if os.path.isdir("/dev/shm"):
        got.append("/dev/shm")
    return got
"""
    contained(sandbox, source, "assert hidden_memory() == []")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output(sandbox, stream):
    outcome = attack(sandbox, f"import sys\nwhile True:\n    sys.{stream}.write('spam ' * 1000)\n", "")
    assert outcome.status == "killed" and "output" in outcome.reason
    assert len(outcome.stdout) + len(outcome.stderr) <= 2 * (64 << 10)


def test_endless_answer(sandbox):
    attacks = (
        "def f():\n    return 'x' * 10**8",
        "def f():\n    return [[]] * 10**8",
        "def f():\n    while True: yield 1",
    )
    for source in attacks:
        assert not attack(sandbox, source, "assert list(f()) == [1]", BRIEF).passed


def test_endless_loop_and_sleep(sandbox):
    assert attack(sandbox, "while True: pass", "", Limits(wall_s=20.0, cpu_s=1)).status == "timeout"
    assert attack(sandbox, "import time\ntime.sleep(60)", "", BRIEF).status == "timeout"
    assert attack(sandbox, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "", BRIEF).status == "timeout"
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert attack(sandbox, stubborn, "", Limits(wall_s=20.0, cpu_s=1)).status == "timeout"


def test_disk(sandbox):
    source = """
def fill(size):
    written = 0
    try:
        for number in range(1000):
            with open(f"file{number}", "wb") as out:
                written += out.write(bytes(size))
    except OSError:
        pass
    return written

def one(size):
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open("one", "wb", buffering=0) as out:
            return sum(out.write(bytes(2**20)) for _ in range(size))
    except OSError:
        import os
        return os.path.getsize("one")
"""
    contained(sandbox, source, f"assert fill(2**18) <= {LIMITS.scratch_bytes}")
    small = Limits(file_bytes=2 << 20, scratch_bytes=64 << 20)
    contained(sandbox, source, f"assert one(20) <= {small.file_bytes}", small)


# Looking around


def test_files_of_others_are_not_there(sandbox, tmp_path):
    secret = tmp_path / "id_ed25519"
    secret.write_text("PRIVATE KEY")
    home = Path.home()
    places = [
        str(secret),
        str(home / ".ssh"),
        str(home / ".bashrc"),
        __file__,
        "/etc/passwd",
        "/etc/shadow",
        "/proc/1/environ",
    ]
    source = f"""
import os

def readable():
    found = []
    for place in {places!r}:
        try:
            os.stat(place)
            found.append(place)
        except OSError:
            pass
    return found

def listing():
    kinds = {{}}
    for place in ("/home", "/root", "/var", "/etc", "/proc", "/sys", "/run", "/mnt", "/usr/bin", "/bin"):
        try:
            kinds[place] = sorted(os.listdir(place))
        except OSError:
            pass
    return kinds
"""
    test = """
assert readable() == [], readable()
seen = listing()
assert set(seen) <= {"/root", "/home", "/etc", "/usr/bin", "/bin", "/var"}, seen
assert seen.get("/etc", []) in ([], ["ld.so.cache"]), seen
# The way to the interpreter may lead through these; nothing else is on it.
assert all(len(found) <= 1 for found in seen.values()), seen
"""
    contained(sandbox, source, test)


def test_environment_is_empty(sandbox, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    contained(sandbox, "import os\ndef env():\n    return dict(os.environ)", "assert env() == {}, env()")
    contained(
        sandbox,
        "import ctypes\ndef raw():\n    return ctypes.c_void_p.in_dll(ctypes.CDLL(None), 'environ').value\n"
        "def first():\n    where = raw()\n"
        "    return where and ctypes.cast(where, ctypes.POINTER(ctypes.c_char_p))[0]",
        "assert not first(), first()",
    )


def test_standard_input_is_empty(sandbox):
    outcome = attack(sandbox, "input()", "")
    assert outcome.status == "failed" and "EOFError" in outcome.reason


def test_no_writing_outside_scratch(sandbox, tmp_path):
    before = set(Path.home().iterdir())
    places = ["/", "/usr", "/lib", "/etc", "/root", "/home", "/dev", "/var/tmp", str(Path.home()), str(tmp_path)]
    source = f"""
import os, sys

def writable():
    places = set({places!r}) | {{os.path.dirname(os.__file__), os.path.dirname(sys.executable)}}
    for top, directories, _ in os.walk("/"):
        if top.count("/") < 5:
            places.add(top)
    found = []
    for place in places:
        try:
            with open(os.path.join(place, "planted"), "w") as out:
                out.write("x")
            found.append(place)
        except OSError:
            pass
    return found
"""
    contained(sandbox, source, "assert writable() == ['/tmp'], writable()")
    assert set(Path.home().iterdir()) == before
    assert not (tmp_path / "planted").exists() and not Path("/tmp/planted").exists()


def test_nothing_is_left_for_the_next_program(sandbox):
    assert sandbox.run(Program("open('/tmp/note', 'w').write('x')", ""), LIMITS).passed
    look = "import os\ndef look():\n    return os.listdir('/tmp')"
    assert sandbox.run(Program(look, "assert look() == [], look()"), LIMITS).passed


def test_no_program_to_start(sandbox):
    source = """
import os, subprocess

def shell():
    return os.system("echo hello > /tmp/hello")

def started():
    found = []
    for command in (["/bin/sh", "-c", "true"], ["sudo", "true"], ["/usr/bin/env"]):
        try:
            subprocess.run(command, check=True)
            found.append(command)
        except (OSError, subprocess.CalledProcessError):
            pass
    return found
"""
    contained(sandbox, source, "assert shell() != 0 and started() == []")


# Getting out


def test_network(sandbox):
    reached: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        abstract = f"\0assay-test-{os.getpid()}"
        hidden.bind(abstract)
        hidden.listen()
        server.settimeout(0.2)

        def accept():
            try:
                reached.append(server.accept())
            except OSError:
                return

        listener = threading.Thread(target=accept)
        listener.start()
        source = f"""
import socket, urllib.request

def reached():
    found = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
        (socket.AF_INET, ("8.8.8.8", 53)),
        (socket.AF_INET6, ("::1", {server.getsockname()[1]})),
        (socket.AF_UNIX, {abstract!r}),
    ):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as line:
                line.settimeout(1)
                line.connect(address)
            found.append(address)
        except OSError:
            pass
    for family in (socket.AF_INET, socket.AF_PACKET, socket.AF_NETLINK):
        try:
            socket.socket(family, socket.SOCK_RAW).close()
            found.append(family)
        except OSError:
            pass
    try:
        urllib.request.urlopen("http://example.com", timeout=1)
        found.append("http")
    except OSError:
        pass
    return [str(each) for each in found]
"""
        contained(sandbox, source, "assert reached() == [], reached()")
        listener.join()
    assert not reached


def test_killing_the_parent_and_everyone(sandbox):
    source = """
import os, resource, signal

def kill():
    for target in (os.getppid(), 1, 2, -1):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
            try:
                os.kill(target, number)
            except OSError:
                pass
    for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
        try:
            resource.prlimit(os.getppid(), limit, (0, 0))
        except OSError:
            pass
    return "wrong"
"""
    outcome = attack(sandbox, source, "assert kill() == 'right'")
    assert outcome.status in {"failed", "killed"}


def test_other_processes_are_not_seen(sandbox):
    source = """
import os

def seen():
    found = []
    for pid in range(1, 70000):
        try:
            os.kill(pid, 0)
            found.append(pid)
        except ProcessLookupError:
            pass
        except PermissionError:
            found.append(pid)
    return found
"""
    contained(sandbox, source, "assert len(seen()) <= 4, seen()")


def test_kernel_calls_that_would_open_the_walls(sandbox):
    source = """
import ctypes, os

def allowed():
    libc = ctypes.CDLL(None, use_errno=True)
    flags = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000}
    found = [name for name, flag in flags.items() if libc.unshare(flag) == 0]
    if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, b"size=10g") == 0:
        found.append("mount")
    if libc.umount2(b"/tmp", 2) == 0:
        found.append("umount")
    if libc.ptrace(16, os.getppid(), 0, 0) == 0:
        found.append("ptrace")
    if libc.chroot(b"/tmp") == 0:
        found.append("chroot")
    if libc.setuid(0) == 0 and os.getuid() == 0:
        found.append("setuid")
    local, remote = ctypes.create_string_buffer(8), ctypes.create_string_buffer(16)
    if libc.process_vm_readv(os.getppid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) > 0:
        found.append("process_vm_readv")
    for path in ("/proc/self/mem", "/proc/1/mem", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/tty"):
        try:
            os.close(os.open(path, os.O_RDWR))
            found.append(path)
        except OSError:
            pass
    return found
"""
    contained(sandbox, source, "assert allowed() == [], allowed()")


def test_open_descriptors_lead_nowhere(sandbox):
    source = """
import os, stat

def descriptors():
    found = []
    for fd in range(3, 128):
        try:
            found.append(stat.S_IFMT(os.fstat(fd).st_mode) == stat.S_IFIFO)
        except OSError:
            pass
    return found
"""
    contained(sandbox, source, "assert descriptors() == [True, True], descriptors()")


# Forging the verdict: in each, `double` is wrong or missing, and the test must find out.

FORGERIES = {
    "ends with status 0": "import os\nos._exit(0)",
    "ends with status 0 when called": "import os\ndef double(x):\n    os._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "sys.exit when called": "import sys\ndef double(x):\n    sys.exit(0)",
    "raises SystemExit": "raise SystemExit(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x):\n    return 5",
    "says passed": "print('passed')\nprint('ok', flush=True)\ndef double(x):\n    return 5",
    "says passed everywhere": """
import os
for fd in range(128):
    try: os.write(fd, b'passed\\n')
    except OSError: pass
def double(x):
    return 5
""",
    "speaks the checker's language": """
import os, sys
wire = sys.modules.get("inside.wire")
for message in (("verdict", "passed", "", 0), ("value", None), ("value", {}), ("value", True)):
    for fd in range(3, 128):
        try: wire.send(fd, wire.encode(message, wire.no_objects))
        except OSError: pass
os._exit(0)
""",
    "calls the checker": """
import sys
checker = sys.modules.get("inside.checker")
for fd in range(3, 128):
    try: checker._report(fd, "passed", "", 0)
    except OSError: pass
def double(x):
    return 5
""",
    "equal to everything": """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 8
def double(x):
    return Equal()
""",
    "a number equal to everything": """
class Equal(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def double(x):
    return Equal(5)
""",
    "a list equal to everything": """
class Equal(list):
    def __eq__(self, other): return True
def double(x):
    return Equal([5])
""",
    "lies about its type": """
class Lie:
    __class__ = int
    def __eq__(self, other): return True
    def __getattribute__(self, name): return lambda *a: True
def double(x):
    return Lie()
""",
    "patches the built-ins": """
import builtins
class Never(Exception): pass
builtins.AssertionError = Never
builtins.len = builtins.isinstance = builtins.abs = builtins.all = lambda *a: True
builtins.__build_class__ = None
def double(x):
    return 5
""",
    "defines the test away": """
def check(candidate): return True
def test(): return True
class AssertionError(Exception): pass
__debug__2 = False
def double(x):
    return 5
""",
    "changes the test's code": """
import gc, threading, time
def patch():
    while True:
        for each in gc.get_objects():
            if getattr(each, "__name__", "") in ("check", "_check", "_report"):
                try: each.__code__ = (lambda *a, **k: ("passed", "", 0)).__code__
                except Exception: pass
        time.sleep(0.001)
threading.Thread(target=patch, daemon=True).start()
def double(x):
    time.sleep(0.05)
    return 5
""",
    "traces the test": """
import sys
def trace(frame, event, argument):
    frame.f_trace_lines = False
    if "test" in frame.f_code.co_filename: frame.f_lineno += 100
    return trace
sys.settrace(trace)
sys.setprofile(lambda *a: None)
def double(x):
    return 5
""",
    "walks up the stack": """
import sys
def double(x):
    frame = sys._getframe()
    while frame:
        for name in list(frame.f_locals) + list(frame.f_globals):
            if name in ("status", "expected", "test"): frame.f_globals[name] = "passed"
        frame = frame.f_back
    return 5
""",
    "patches the pipe's language": """
import sys
wire = sys.modules["inside.wire"]
wire.encode = lambda *a: b"T"
sys.modules["inside.candidate"].wire = wire
def double(x):
    return 5
""",
    "hands over built-ins of its own": """
import builtins, sys
candidate = sys.modules["inside.candidate"]
wire = candidate.wire
plain = wire.encode
lies = {"len": lambda x: 2, "abs": lambda x: 0, "all": lambda x: True, "AssertionError": int}
def encode(value, refer):
    if value[0] == "value" and isinstance(value[1], dict):
        value = ("value", {**value[1], "__builtins__": lies, **lies, "check": lambda f: None})
    return plain(value, refer)
wire.encode = encode
def double(x):
    return 5
""",
    "interrupts the checker": """
import os, signal
def double(x):
    for _ in range(20):
        try: os.kill(os.getppid(), signal.SIGINT)
        except OSError: pass
    return 5
""",
    "closes every descriptor": "import os\nos.closerange(0, 128)\ndef double(x):\n    return 5",
    "forks at the start": "import os\nos.fork()\ndef double(x):\n    return 5",
    "unreadable answer": """
import os, sys
def double(x):
    for fd in range(3, 20):
        try: os.write(fd, b"\\xff\\xff\\xff\\xff" + b"l" * 100)
        except OSError: pass
    return 5
""",
    "endlessly nested answer": "def double(x):\n    a = []\n    a.append(a)\n    return a",
    "raises the test's own success": "def double(x):\n    raise StopIteration('passed')",
    "raises an exception that lies": """
class Lie(BaseException):
    def __str__(self): raise SystemExit(0)
def double(x):
    raise Lie
""",
    "memory of the process": """
import ctypes
def double(x):
    ctypes.string_at(0)
""",
    "no function at all": "",
    "a syntax error": "def double(x:\n    return",
    "null bytes": "def double(x):\n    return 8\n\0",
}


@pytest.mark.parametrize("source", FORGERIES.values(), ids=FORGERIES.keys())
def test_verdict_cannot_be_forged(sandbox, source):
    test = """
def check(candidate):
    assert abs(candidate(4) - 8) < 1e-6 and all(candidate(x) == 2 * x for x in range(3))
    assert candidate(4) == 8

check(double)
"""
    for names in ((), ("double",)):
        outcome = sandbox.run(Program(source, test, names), BRIEF)
        assert outcome.measured and not outcome.passed, outcome
    assert sandbox.run(HONEST, LIMITS).passed


def test_builtins_are_the_checker_s_own(sandbox):
    source = """
import builtins, sys
candidate = sys.modules["inside.candidate"]
plain = candidate.wire.encode
def encode(value, refer):
    if value[0] == "value" and isinstance(value[1], dict):
        value = ("value", {**value[1], "__builtins__": {"abs": lambda x: 0}, "abs": lambda x: 0})
    return plain(value, refer)
candidate.wire.encode = encode
def double(x):
    return 5
"""
    outcome = attack(sandbox, source, "assert abs(double(4) - 8) < 1")
    assert not outcome.passed, outcome


def test_a_test_is_never_in_the_program_s_memory(sandbox):
    source = """
import gc, sys

def search(half):
    marker = half + "marker"
    found = []
    for each in gc.get_objects():
        if isinstance(each, dict):
            found += [value for value in each.values() if isinstance(value, str) and marker in value]
    frame = sys._getframe()
    while frame:
        texts = [value for value in frame.f_locals.values() if isinstance(value, str)]
        found += [text for text in texts if marker in text and text != marker]
        frame = frame.f_back
    return found
"""
    contained(sandbox, source, "secret = 'pass' + 'word'; assert search('expected-') == []  # expected-marker")


def test_time_is_the_program_s_not_the_sandbox_s(sandbox):
    begin = time.monotonic()
    outcome = sandbox.run(HONEST, Limits(wall_s=5.0))
    assert 0.0 < outcome.seconds <= time.monotonic() - begin
