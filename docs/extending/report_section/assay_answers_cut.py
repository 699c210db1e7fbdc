"""answers_cut: a section of the report that counts the answers cut by the token limit."""

from reports.blocks import Cell, Section, Table
from reports.sections import SectionEntry


def build(context):
    rows = []
    for run in context.inputs.runs:
        answers = [r for r in run.stored.responses if r.role == "candidate"]
        cut = sum(answer.finish == "length" for answer in answers)
        rows.append([Cell(run.name), Cell(str(cut)), Cell(str(len(answers)))])
    return (
        [Section("answers-cut", "Answers cut", [Table("By model", ["model", "cut#", "answers#"], rows)])]
        if rows
        else []
    )


SECTION = SectionEntry(45, build)
