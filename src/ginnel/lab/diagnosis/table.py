"""The accuracy of the doctor as a page for people: docs/doctor-accuracy.md is what this made.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab.diagnosis.report import Accuracy, Case, Diagnosis, Totals

HEAD = """# How often `ginnel doctor` is right

Each row is a network of the lab, with a fault that was done to it on purpose and shown to be in force by packets, or
with nothing wrong. `ginnel doctor` was asked on the machine that the row names. This page was made by `make lab`, whose
last command is

    ginnel lab diagnose --seed {seed} --table docs/doctor-accuracy.md

The seed picks the kinds of network and the way of each fault (silence or refusal, a process or its machine); another
seed makes another table.
"""
COLUMNS = (
    "| fault | what was done | networks | asked on | right | said first | then | |\n|---|---|---|---|---|---|---|---|"
)
NO_CAUSE = "-"


def page(found: Accuracy) -> str:
    faults = [row for case in found.cases if not case.healthy for row in rows(case)]
    healthy = [row for case in found.cases if case.healthy for row in rows(case)]
    parts = [HEAD.format(seed=found.seed), *summary(found.totals), "", "## Faults", "", COLUMNS, *faults]
    return "\n".join([*parts, "", "## Nothing wrong", "", COLUMNS, *healthy, ""])


def summary(totals: Totals) -> list[str]:
    """The figures that are asked for, as lines of a list."""
    asked, fine = totals.diagnoses, totals.healthy_diagnoses
    return [
        f"- {totals.faults} faults, {asked} diagnoses: the first cause was right in {share(totals.top1, asked)}, one "
        f"of the first three in {share(totals.top3, asked)}; {share(totals.named, asked)} were right and named what is "
        "to blame",
        f"- the way out, where one machine or command is the right one: right in {share(totals.mends, totals.mending)}",
        f"- faults that were called healthy: {listed(totals.false_healthy)}",
        f"- {totals.healthy} healthy networks, {fine} diagnoses; called faulty: {listed(totals.false_alarms)}",
        *([f"- the doctor gave no answer: {listed(totals.silent)}"] if totals.silent else []),
        *([f"- not judged, the fault was not in force: {listed(totals.unproved)}"] if totals.unproved else []),
    ]


def share(count: int, whole: int) -> str:
    return f"{count} of {whole} ({100 * count / whole:.0f} %)" if whole else "0 of 0"


def listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def rows(case: Case) -> list[str]:
    networks = ", ".join(f"{host} {nat}" for host, nat in sorted(case.networks.items()))
    if not case.diagnoses:
        return [
            f"| {case.name} | {case.about} | {networks} | | | | | not judged: {escaped(case.error or case.proof)} |"
        ]
    return [row(case, one, networks) for one in case.diagnoses]


def row(case: Case, one: Diagnosis, networks: str) -> str:
    first, *others = one.said or [NO_CAUSE]
    command = f"{one.at}: `doctor {one.peer}".rstrip() + "`"
    right = "healthy" if case.healthy else " or ".join((one.expected, *one.also))
    mark = verdict(case, one)
    cells = (case.name, case.about, networks, command, right, first, ", ".join(others[:2]) or NO_CAUSE, mark)
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def verdict(case: Case, one: Diagnosis) -> str:
    if not one.right_verdict:
        return f"**called {one.verdict or 'nothing'}**"
    if case.healthy or one.right:
        return "right"
    if one.top1 and one.named:
        return "right, another way out"
    if one.top1:
        return "right, unnamed"
    return "among three" if one.top3 else "**wrong**"


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
