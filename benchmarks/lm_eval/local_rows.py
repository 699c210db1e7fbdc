"""The academic suites' upstream files, read into the rows lm-eval's task definitions expect.

Files are looked up in the mirror by catalogue name, then in a directory ``academic/`` in the mirror or beside it:

====================================  =======================================================================
``gsm8k/test.jsonl``                  openai/grade-school-math; ``gsm8k/train.jsonl`` for the examples
``mmlu/*.zip``                        the authors' CSV files ``{dev,val,test}/SUBJECT_{dev,val,test}.csv``
``humaneval/HumanEval.jsonl.gz``      openai/human-eval
``mbpp/mbpp.jsonl``                   google-research/mbpp, split by task number as its authors do
``truthfulqa/mc_task.json``           sylinrl/TruthfulQA
``arc/ARC-Challenge_test_*.json``     LLM-Adapters' rendering of the questions, with
``arc/aristo_data-challenge_*.jsonl`` allenai/aristo-leaderboard's answer keys
====================================  =======================================================================

If a split for examples is missing (GSM8K, ARC), the last test items are the examples and are not scored.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.file_rows import Row, read_rows
from harness.errors import FileFormatError, MissingDataError
from harness.protocols import DataSource

Rows = list[dict[str, Any]]

_OWN_SHOTS = {"openai/gsm8k": 5, "gsm8k": 5}
_LETTERS = "ABCD"
_N_MBPP_EXAMPLES, _LAST_MBPP_TEST, _LAST_MBPP_VALIDATION = 10, 510, 600
_CHOICE = re.compile(r"Answer(\d+): ?")


@dataclass
class LocalRows:
    """Rows of a dataset, read from local files.

    Parameters
    ----------
    splits : dict of str to list of dict
        Rows by the name of the split.
    held_out : dict of str to int
        How many test rows replace a missing split, by the name of that split.
    source : Path or None
        The file of the test split, for messages.
    """

    splits: dict[str, Rows]
    held_out: dict[str, int] = field(default_factory=dict)
    source: Path | None = None


def find_rows(path: str, name: str | None, data: DataSource, num_fewshot: int | None) -> LocalRows | None:
    """Read the local files of a dataset of the hub.

    Parameters
    ----------
    path, name : str, str or None
        The dataset and its configuration, as a task definition names them.
    data : DataSource
        Source of the files.
    num_fewshot : int or None
        Number of examples needed; None for the task's own number.

    Returns
    -------
    LocalRows or None
        None for a dataset whose files are not known here.

    Raises
    ------
    MissingDataError
        A file is missing.
    FileFormatError
        A file lacks a field.
    """
    reader = _READERS.get(path.lower())
    if reader is None:
        return None
    return reader(data, name, _OWN_SHOTS.get(path.lower(), 0) if num_fewshot is None else num_fewshot)


def _file(data: DataSource, registered: str | None, local: str) -> Path:
    """Find a file by its name in the catalogue, else in the directory ``academic/``."""
    missing: MissingDataError | None = None
    if registered is not None:
        try:
            return data.path(registered)
        except MissingDataError as error:
            missing = error
    found = data.local(f"academic/{local}")
    if found is not None:
        return found
    where = str(missing) if missing else f"academic/{local} is neither in the data directory nor beside it"
    raise MissingDataError(
        where.splitlines()[0], f"that file, or academic/{local}", "`docs/academic.md` lists the files"
    )


def _optional(data: DataSource, registered: str | None, local: str) -> Path | None:
    try:
        return _file(data, registered, local)
    except MissingDataError:
        return None


def examples_from_test(rows: Rows, num_fewshot: int, split: str, source: Path) -> LocalRows:
    """Use the last test rows as examples in place of a missing split, and remove them from the test.

    Raises
    ------
    FileFormatError
        There are too few rows.
    """
    if num_fewshot == 0:
        return LocalRows({split: rows, "test": rows}, source=source)
    if num_fewshot >= len(rows):
        raise FileFormatError(source, None, f"{len(rows)} rows", f"more than the {num_fewshot} examples asked for")
    return LocalRows({split: rows[-num_fewshot:], "test": rows[:-num_fewshot]}, {split: num_fewshot}, source)


def _gsm8k_rows(path: Path) -> Rows:
    return [{"question": row.text("question"), "answer": row.text("answer")} for row in read_rows(path)]


def _gsm8k(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    path = _file(data, "gsm8k/test", "gsm8k/test.jsonl")
    rows = _gsm8k_rows(path)
    train = _optional(data, "gsm8k/train", "gsm8k/train.jsonl")
    if train is None:
        return examples_from_test(rows, num_fewshot, "train", path)
    return LocalRows({"train": _gsm8k_rows(train), "test": rows}, source=path)


def _human_eval(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    path = _file(data, "human_eval/problems", "humaneval/HumanEval.jsonl.gz")
    fields = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    return LocalRows({"test": [{f: row.text(f) for f in fields} for row in read_rows(path)]}, source=path)


def _mbpp(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    path = _file(data, None, "mbpp/mbpp.jsonl")
    splits: dict[str, Rows] = {"prompt": [], "test": [], "validation": [], "train": []}
    for row in read_rows(path):
        number = row.get("task_id", int, "task_id as a whole number")
        values: dict[str, Any] = {f: row.text(f) for f in ("text", "code", "test_setup_code")}
        tests = row.get("test_list", list, "test_list as a list of assertions")
        if len(tests) < 3:
            raise row.error(f"test_list has {len(tests)} assertions", "at least 3, which the prompt shows")
        values |= {"task_id": number, "test_list": tests}
        values["challenge_test_list"] = row.values.get("challenge_test_list") or [""]
        if number <= _N_MBPP_EXAMPLES:
            split = "prompt"
        elif number <= _LAST_MBPP_TEST:
            split = "test"
        else:
            split = "validation" if number <= _LAST_MBPP_VALIDATION else "train"
        splits[split].append(values)
    return LocalRows({name: rows for name, rows in splits.items() if rows}, source=path)


def _truthful_qa(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    path = _file(data, None, "truthfulqa/mc_task.json")
    rows = []
    for number, row in enumerate(read_rows(path)):
        values: dict[str, Any] = {"question": row.text("question")}
        for kind in ("mc1_targets", "mc2_targets"):
            targets = row.get(kind, dict, f"{kind} as answers with 1 or 0")
            if not targets or not set(targets.values()) <= {0, 1}:
                raise row.error(f"{kind} of question {number} are {targets!r:.80}", "answers with 1 or 0")
            # For mc1 the task takes the first answer as the true one; for mc2 only the labels count.
            ordered = sorted(targets, key=lambda answer: -targets[answer])
            values[kind] = {"choices": ordered, "labels": [targets[answer] for answer in ordered]}
        rows.append(values)
    return LocalRows({"validation": rows}, source=path)


def _arc(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    kind = "easy" if name == "ARC-Easy" else "challenge"
    label = "ARC-Easy" if kind == "easy" else "ARC-Challenge"
    path = _file(data, None, f"arc/{label}_test_llmadapters.json")
    keys = read_rows(_file(data, None, f"arc/aristo_data-{kind}_question-answers.jsonl"))
    questions = read_rows(path)
    if len(keys) != len(questions):
        raise FileFormatError(path, None, f"{len(questions)} questions for {len(keys)} answer keys", "one key each")
    rows = [_arc_row(question, key, number) for number, (question, key) in enumerate(zip(questions, keys, strict=True))]
    return examples_from_test(rows, num_fewshot, "train", path)


def _arc_row(row: Row, key: Row, number: int) -> dict[str, Any]:
    text = row.text("instruction")
    body = text.partition(": ")[2].rpartition("\n\nAnswer format")[0]
    question, separator, listed = body.rpartition("\n\nAnswer1:")
    choices = [part.strip() for part in _CHOICE.split("Answer1:" + listed)[2::2]]
    if not separator or len(choices) < 2:
        raise row.error(f"question {number} lists no answers: {text!r:.80}", "'…\\n\\nAnswer1: … Answer2: …'")
    answer = row.text("answer")
    labels = [str(i + 1) for i in range(len(choices))] if key.text("answerKey").isdigit() else list("ABCDE")
    labels = labels[: len(choices)]
    given = key.text("answerKey")
    if given not in labels or f"answer{labels.index(given) + 1}" != answer:
        raise row.error(f"question {number}: {answer} here, {given} among the keys", "the same answer in both files")
    return {
        "id": key.text("id"),
        "question": question.strip(),
        "choices": {"text": choices, "label": labels},
        "answerKey": given,
    }


def _mmlu(data: DataSource, name: str | None, num_fewshot: int) -> LocalRows:
    path = _file(data, None, "mmlu/mmlu_llamafactory.zip")
    splits: dict[str, Rows] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for split, short in (("dev", "dev"), ("validation", "val"), ("test", "test")):
                inner = [n for n in archive.namelist() if n.endswith(f"{short}/{name}_{short}.csv")]
                if not inner:
                    raise FileFormatError(path, None, f"no {short}/{name}_{short}.csv in it", "one file a subject")
                splits[split] = _mmlu_rows(f"{path}:{inner[0]}", archive.read(inner[0]).decode("utf-8"), name or "")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise FileFormatError(path, None, f"cannot be read ({error})", "a .zip of CSV files") from error
    return LocalRows(splits, source=path)


def _mmlu_rows(where: str, text: str, subject: str) -> Rows:
    rows = []
    for number, values in enumerate(csv.reader(io.StringIO(text)), start=1):
        if len(values) != 6 or values[5] not in _LETTERS:
            raise FileFormatError(where, number, f"{len(values)} columns, the last {values[-1:]!r:.40}", _MMLU_COLUMNS)
        answer = _LETTERS.index(values[5])
        rows.append({"question": values[0], "subject": subject, "choices": values[1:5], "answer": answer})
    return rows


_MMLU_COLUMNS = "6 columns: question, four choices, A, B, C or D"

_READERS: Mapping[str, Callable[[DataSource, str | None, int], LocalRows]] = {
    "openai/gsm8k": _gsm8k,
    "gsm8k": _gsm8k,
    "openai/openai_humaneval": _human_eval,
    "google-research-datasets/mbpp": _mbpp,
    "truthfulqa/truthful_qa": _truthful_qa,
    "allenai/ai2_arc": _arc,
    "cais/mmlu": _mmlu,
}
