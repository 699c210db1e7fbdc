"""figures_csv: a run's figures as a CSV file; `assay export RUN --format figures_csv --out FILE`."""

import csv

from reports.exports import Exporter

COLUMNS = ("benchmark", "metric", "value", "ci_low", "ci_high", "n", "n_unscored", "reason")


def write(directories, scores, out):
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("model", *COLUMNS))
        writer.writerows([run.model, *(getattr(row, name) for name in COLUMNS)] for run in scores for row in run.rows)
    return [out]


EXPORTER = Exporter("figures_csv", "the figures as CSV, into the file --out", write, several=True)
