"""What `assay calibrate` prints for people."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

from harness.commands.output import plain, print_table
from harness.stats.calibration import Reliability
from harness.stats.estimate import Estimate
from judges.study.battery import AgreementCell, Coefficients
from judges.study.price import Contender
from judges.study.study import JudgeReport, JudgeStudy
from judges.study.study_figures import NotMeasured

__all__ = ["print_study"]

_MOST_CONTENDERS = 12


def print_study(study: JudgeStudy) -> None:
    """Print the tables, whether the figures may be relied on first."""
    names = ", ".join(judge.name for judge in study.judges)
    human = study.human
    counts = f"{_many(human.n_votes, 'vote')} of {_many(human.n_voters, 'voter')} on {_many(human.n_pairs, 'pair')}"
    lines = [f"{plain(names)} against {counts}: {'valid' if study.valid else 'NOT VALID'}"]
    lines += [f"  ! {plain(problem)}" for problem in study.problems]
    lines += [f"  - {plain(remark)}" for remark in study.remarks]
    sys.stdout.write("\n".join(lines) + "\n")
    for part in (
        _agreement,
        _beyond_chance,
        _biases,
        _orders,
        _confidence,
        _models,
        _repeats,
        _contest,
        _rates,
        _labels,
    ):
        part(study)


def _agreement(study: JudgeStudy) -> None:
    rows = []
    for who, cells in [*((j.name, j.cells) for j in study.judges), ("people among themselves", study.human.cells)]:
        rows += [_cell(who, cell) for cell in cells]
    print_table(
        ["who", "turn", "ties", "agreement", _interval(study), "agree", "compared"],
        rows,
        "Agreement with each human vote, percent",
    )


def _cell(who: str, cell: AgreementCell) -> list[str]:
    turn, ties = "all" if cell.turn is None else str(cell.turn), "with" if cell.ties else "without"
    found = cell.agreement
    if isinstance(found, NotMeasured):
        return [who, turn, ties, "-", found.reason, "-", "-"]
    return [
        who,
        turn,
        ties,
        f"{found.estimate.value:.1f}",
        _limits(found.estimate, ".1f"),
        str(found.n_agree),
        str(found.n_compared),
    ]


def _beyond_chance(study: JudgeStudy) -> None:
    notes: list[str] = []

    def row(who: str, found: Coefficients) -> list[str]:
        cells = [who, "with" if found.ties else "without"]
        for name in ("cohen", "fleiss", "alpha", "ac1"):
            figure = getattr(found, name)
            if isinstance(figure, NotMeasured) and name != "cohen" and figure.reason not in notes:
                notes.append(figure.reason)
            cells.append(_figure(figure, ".3f"))
        return cells

    groups = [*((j.name, j.coefficients) for j in study.judges), ("people among themselves", study.human.coefficients)]
    rows = [row(who, found) for who, coefficients in groups for found in coefficients]
    columns = ["who", "ties", "Cohen's kappa", "Fleiss' kappa", "Krippendorff's alpha", "Gwet's AC1"]
    print_table(columns, rows, "Agreement beyond chance", "\n".join(f"- {plain(note)}" for note in notes))


def _biases(study: JudgeStudy) -> None:
    notes: list[str] = []
    rows = []
    for judge in study.judges:
        cells = [judge.name, _no_verdict(judge)]
        for part, names in (
            (judge.position, ("consistent", "shown_first_rate", "beyond_people")),
            (judge.verbosity, ("bias", "judge_longer", "human_longer")),
            (judge.self_preference, ("bias",)),
        ):
            for name in names:
                figure = part if isinstance(part, NotMeasured) else getattr(part, name)
                cells.append(_figure(figure, "+.1f" if name in ("bias", "beyond_people") else ".1f"))
                if isinstance(figure, NotMeasured) and f"{judge.name}: {figure.reason}" not in notes:
                    notes.append(f"{judge.name}: {figure.reason}")
        rows.append(cells)
    columns = [
        "judge",
        "no verdict",
        "same in both orders",
        "first shown wins",
        "more than people",
        "verbosity bias",
        "judge takes longer",
    ]
    columns += ["people take longer", "self-preference"]
    print_table(columns, rows, "Biases, percent and points", "\n".join(f"- {plain(note)}" for note in notes))


def _orders(study: JudgeStudy) -> None:
    rows = []
    for judge in study.judges:
        if isinstance(judge.position, NotMeasured) or not judge.position.games:
            continue
        for game in judge.position.games:
            figure = _figure(game.agreement, ".1f")
            rows.append(
                [
                    judge.name,
                    f"order {game.game} alone",
                    figure,
                    str(game.n_agree),
                    str(game.n_compared),
                    str(game.n_no_verdict),
                    f"{game.percent_of_all:.1f}",
                ]
            )
        both = judge.position
        share = 100.0 * both.n_both_right / both.n_votes if both.n_votes else 0.0
        rows.append(
            [
                judge.name,
                "both orders",
                _figure(both.both_right, ".1f"),
                str(both.n_both_right),
                str(both.n_votes),
                "-",
                f"{share:.1f}",
            ]
        )
    if rows:
        columns = ["judge", "verdict", "agreement", "agree", "compared", "no verdict", "missing counted as wrong"]
        print_table(columns, rows, "Each order alone, percent with ties")


def _confidence(study: JudgeStudy) -> None:
    rows = []
    for judge in study.judges:
        found = judge.confidence
        if isinstance(found, NotMeasured):
            rows.append([judge.name, found.reason, *("-",) * 5])
            continue
        for name, part in (("as it is", found.raw), ("temperature", found.temperature), ("isotonic", found.isotonic)):
            rows.append([judge.name, name + (" (best)" if name == found.best else ""), *_calibration(part)])
    columns = ["judge", "confidence", "ECE", "if calibrated", "p calibrated", "largest gap", "Brier"]
    note = (
        "recalibrated by fits that never saw the prompt; ECE is never 0 on real data: compare it with the next column"
    )
    print_table(columns, rows, "Can its confidence be believed?", note)


def _calibration(part: Reliability | NotMeasured) -> list[str]:
    if isinstance(part, NotMeasured):
        return [part.reason, *("-",) * 4]
    chance = "-" if part.ece_if_calibrated is None else f"{part.ece_if_calibrated:.3f}"
    p_value = "-" if part.p_calibrated is None else f"{part.p_calibrated:.2g}"
    return [
        _figure(part.ece, ".3f"),
        chance,
        p_value,
        f"{part.max_error:.3f} (n {part.max_error_n})",
        _figure(part.brier, ".3f"),
    ]


def _models(study: JudgeStudy) -> None:
    rows = []
    for judge in study.judges:
        found = judge.ranking
        if isinstance(found, NotMeasured):
            rows.append([judge.name, "-", found.reason, "-"])
            continue
        rows.append([judge.name, str(len(found.models)), _figure(found.spearman, ".3f"), _figure(found.kendall, ".3f")])
    print_table(
        ["judge", "models", "Spearman", "Kendall's tau"], rows, "Order of the models by win rate, judge against people"
    )


def _repeats(study: JudgeStudy) -> None:
    rows = []
    for judge in study.judges:
        found = judge.repeats
        if isinstance(found, NotMeasured):
            continue
        w = found.concordance if isinstance(found.concordance, NotMeasured) else found.concordance.w
        rows.append(
            [
                judge.name,
                str(found.n_repeats),
                str(found.n_pairs),
                _figure(w, ".3f"),
                _figure(found.unanimous, ".1f"),
                _figure(found.alpha, ".3f"),
            ]
        )
    if rows:
        columns = ["judge", "repetitions", "pairs", "Kendall's W", "always the same, %", "alpha"]
        print_table(columns, rows, "Asked again")


def _contest(study: JudgeStudy) -> None:
    found = study.contest
    if isinstance(found, NotMeasured):
        sys.stdout.write(f"Judges against each other: {plain(found.reason)}\n\n")
        return
    if len(study.judges) < 2:
        return
    shown = [c for i, c in enumerate(found.contenders) if i < _MOST_CONTENDERS or c.kind == "judge" or c.pareto]
    left = len(found.contenders) - len(shown)
    notes = [f"- {left} less accurate ensembles are in the JSON"] if left else []
    if isinstance(found.chosen_accuracy, Estimate):
        notes.append(f"- choosing the best on other prompts gives {_figure(found.chosen_accuracy, '.1f')}")
    if any(c.price is None for c in found.contenders):
        notes.append("- the price of a judge is not known: give --price JUDGE=PRICE")
    notes += [f"- {found.note}"] if found.note else []
    columns = ["judge or ensemble", "best at its price", "accuracy", "without ties", "behind the best", "price a pair"]
    title = f"Accuracy and price on the {found.n_pairs} pairs all judges share ({found.n_votes} votes), percent"
    print_table(columns, [_contender(c) for c in shown], title, "\n".join(notes))


def _contender(c: Contender) -> list[str]:
    best = {True: "yes", False: "no", None: "-"}[c.pareto]
    price = "-" if c.price is None else f"{c.price:.4g}"
    behind = "best" if isinstance(c.behind_best, NotMeasured) else _figure(c.behind_best, ".1f")
    return [c.name, best, _figure(c.accuracy, ".1f"), _figure(c.decisive_accuracy, ".1f"), behind, price]


def _rates(study: JudgeStudy) -> None:
    rows, notes = [], []
    for judge in study.judges:
        missing: dict[str, list[str]] = defaultdict(list)
        if isinstance(judge.win_rates, NotMeasured):
            notes.append(f"- {judge.name}: {judge.win_rates.reason}")
            continue
        for found in judge.win_rates:
            if isinstance(found.rate, NotMeasured):
                missing[found.rate.reason].append(found.model)
                continue
            rate, labels = found.rate, found.labels
            wanted = None if isinstance(labels, NotMeasured) else labels.wanted
            rows.append(
                [
                    judge.name,
                    found.model,
                    _figure(rate.judge_only, ".1f"),
                    _figure(rate.labels_only, ".1f"),
                    _figure(rate.estimate, ".1f"),
                    str(rate.n_labelled),
                    f"{rate.effective_labels:.0f}",
                    "-"
                    if wanted is None
                    else str(wanted.with_judge)
                    if wanted.with_judge is not None
                    else "more pairs",
                    "-" if wanted is None else str(wanted.labels_only),
                ]
            )
        notes += [f"- {judge.name}: {why} ({', '.join(models)})" for why, models in missing.items()]
    width = f"labels for +-{study.spec.half_width:g}"
    columns = ["judge", "model", "judge alone", "labels alone", "corrected", "labels", "worth", width, "without judge"]
    if not rows:
        sys.stdout.write("\n".join(["Win rates corrected by human labels", *map(plain, notes)]) + "\n\n")
    else:
        notes.append("- right if the labelled pairs are a random sample of the judged ones")
        print_table(columns, rows, "Win rates corrected by human labels (PPI++), percent", "\n".join(notes))


def _labels(study: JudgeStudy) -> None:
    listed = study.labels.pairs[: study.spec.n_pairs_listed]
    if not listed:
        return
    asked = {(row["prompt"], row["turn"]): study.texts.get(row["prompt_text"] or "") for row in study.pairs}
    lines = ["Pairs most worth a further vote (P: the first is better, by the calibrated judges)"]
    for number, worth in enumerate(listed, 1):
        key, text = worth.key, asked[worth.key.prompt, worth.key.turn]
        prompt = f'"{text[:50]}"' if key.prompt.startswith("text:") and text else f"{key.prompt} turn {key.turn}"
        votes = f"{worth.n_votes} vote{'' if worth.n_votes == 1 else 's'}"
        answers = "" if key.first.startswith("text:") else f", {key.first} / {key.second}"
        lines.append(f" {number:3}. {prompt}{answers}: P {worth.probability:.2f}, {votes}, value {worth.value:.4f}")
        lines.append(f"      {worth.reason}")
    lines.append(
        "- for mending the judge; leave votes got by this list out of corrected win rates, which need random ones"
    )
    sys.stdout.write("\n".join(plain(line) for line in lines) + "\n")


def _no_verdict(judge: JudgeReport) -> str:
    n = sum(judge.unscored.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in judge.unscored.items())
    return f"{n} of {judge.n_pairs} ({reasons})" if n else f"0 of {judge.n_pairs}"


def _many(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _figure(found: Any, form: str) -> str:
    if isinstance(found, NotMeasured):
        return "-"
    limits = _limits(found, form)
    return f"{found.value:{form}}" + (f" ({limits})" if limits != "-" else "")


def _limits(found: Estimate, form: str) -> str:
    if found.ci_low is None or found.ci_high is None:
        return "-"
    return f"{found.ci_low:{form}} to {found.ci_high:{form}}"


def _interval(study: JudgeStudy) -> str:
    return f"{study.spec.level:.0%} interval"
