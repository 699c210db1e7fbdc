import pytest

from harness.data.constants import MAX_BYTES, read_constant
from harness.errors import FileFormatError, MissingDataError

# The shape of arena-hard-auto's utils/judge_utils.py: a prompt, and settings that refer to it.
SHAPE = """
SHARED_PROMPT = "Judge the two answers.\\n\\nSay [[A>B]] or [[B>A]]."

SETTINGS = {
    "hard_prompt": {"baseline": "o3-mini", "system_prompt": SHARED_PROMPT},
    "creative_writing": {
        "baseline": "gemini",
        "system_prompt": "Judge the two "
        "stories.",
    },
    "old-version": {"baseline": "gpt-4", "system_prompt": SHARED_PROMPT},
}"""


@pytest.fixture
def source(tmp_path):
    def write(text):
        path = tmp_path / "settings.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_constant_and_what_it_refers_to(source):
    shared = "Judge the two answers.\n\nSay [[A>B]] or [[B>A]]."
    assert read_constant(source(SHAPE), "SHARED_PROMPT") == shared
    assert read_constant(source(SHAPE), "SETTINGS") == {
        "hard_prompt": {"baseline": "o3-mini", "system_prompt": shared},
        "creative_writing": {"baseline": "gemini", "system_prompt": "Judge the two stories."},
        "old-version": {"baseline": "gpt-4", "system_prompt": shared},
    }


@pytest.mark.parametrize(
    "value",
    ["1", "-2.5", "'x'", "b'x'", "None", "True", "...", "[1, (2, 3), {4}]", "{}", "()", "{'a': {'b': [None]}}", "2j"],
)
def test_every_kind_of_literal_is_read_as_python_reads_it(source, value):
    assert read_constant(source(f"X = {value}\n"), "X") == eval(value)


def test_the_value_is_the_one_the_module_would_have(source):
    text = '"""Docstring."""\nA = 1\nB = [A]\nA = 2\nC: dict = {"a": A, "b": B}\n"bare"\n'
    namespace: dict = {}
    exec(text, namespace)  # noqa: S102 - Python itself is the reference
    for name in "ABC":
        assert read_constant(source(text), name) == namespace[name]


@pytest.mark.parametrize(
    "hostile",
    [
        "import os",
        "from os import *",
        "X = __import__('os').system('touch {mark}')",
        "open('{mark}', 'w')",
        "X = [open('{mark}', 'w') for _ in (1,)]",
        "X = (lambda: open('{mark}', 'w'))()",
        "X = f\"{{open('{mark}', 'w')}}\"",
        "def X(): pass",
        "class X: pass",
        "if True:\n    X = 1",
        "X = 1\nX += 1",
        "X = Y = 1",
        "X, Y = 1, 2",
        "X = {{}}\nX['a'] = 1",
        "X = {{}}\nX.y = 1",
        "X = 1\ndel X",
        "X = 'a' * 10**9",
        "X = 'a' + 'b'",
        "X = (Y := 1)",
        "X = 1 if True else 2",
        "A = {{'a': 1}}\nX = {{**A}}",
        "A = [1]\nX = [*A]",
        "X = {{[]: 1}}",
        "X = {{[1]}}",
        "X = -'a'",
        "X = not True",
        "X: int",
        "X = later\nlater = 1",
        "X = X",
        "X = print",
        "while True: pass",
        "X = (",
        "X = '\\ud800",
    ],
)
def test_what_is_not_a_constant_is_refused_and_never_run(source, tmp_path, hostile):
    mark = tmp_path / "mark"
    path = source(hostile.format(mark=mark) + "\nFINE = 1\n")
    with pytest.raises(FileFormatError, match=r"settings\.py"):
        read_constant(path, "FINE")
    assert not mark.exists()


def test_a_missing_constant_names_the_nearest(source):
    with pytest.raises(FileFormatError, match="did you mean SHARED_PROMPT"):
        read_constant(source(SHAPE), "SHAREDPROMPT")
    with pytest.raises(FileFormatError, match="one of none at all"):
        read_constant(source(""), "SETTINGS")


@pytest.mark.parametrize(
    "content",
    [
        b"X = 1\x00",
        b"\xff\xfe\x00",
        b"# coding: nonsense\nX = 1",
        b"X = " + b"[" * 5000 + b"]" * 5000,
        b"X = " + b"-" * 50_000 + b"1",
        b"X = 1\n" + b"#" * MAX_BYTES,
    ],
)
def test_what_no_parser_can_take_is_refused(source, content):
    with pytest.raises(FileFormatError):
        read_constant(source(content), "X")


def test_a_missing_file_and_a_directory(tmp_path):
    with pytest.raises(MissingDataError, match="no such file"):
        read_constant(tmp_path / "none.py", "X")
    with pytest.raises(MissingDataError, match="cannot read"):
        read_constant(tmp_path, "X")
