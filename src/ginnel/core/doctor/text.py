"""The diagnosis in words for people.

Room: core. Pure. Names of machines and words of peers come from elsewhere: whoever prints them takes control
characters out.
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.core.doctor.causes import LIKELY, Finding, Grade
from ginnel.core.doctor.diagnosis import Diagnosis
from ginnel.core.doctor.evidence import Pair
from ginnel.wire.doctor import Step, Testimony

SHOWN = 4  # causes
STEPS = 12

TITLES = {
    "healthy": "nothing is wrong with this machine or its network",
    "degraded": "works, and not as well as it could",
    "broken": "does not work",
    "unknown": "nothing is known to be wrong, and not everything could be looked at",
}


def lines(diagnosis: Diagnosis, pair: Pair | None = None) -> list[str]:
    """The verdict first, then causes, best first, each with its evidence and the way out."""
    said = [_headline(diagnosis, pair)]
    likely = [finding for finding in diagnosis.findings if finding.confidence >= LIKELY]
    for number, finding in enumerate(likely[:SHOWN], 1):
        said += ["", *_finding(number, finding)]
    return said


def _headline(diagnosis: Diagnosis, pair: Pair | None) -> str:
    if pair is None:
        said = diagnosis.title or TITLES[diagnosis.verdict]
        return f"{diagnosis.verdict}: {said}"
    name = pair.peer.name
    path = {
        "direct": f"the way to {name} is direct, {pair.own.direct or pair.ping.direct}",
        "relay": f"{name} is reached by relay {pair.ping.relay}",
        "none": f"{name} is not reached",
    }[diagnosis.path]
    if diagnosis.verdict == Grade.BROKEN and diagnosis.path != "none":
        path += ", and more than the way is needed"
    more = "; a direct way is still being looked for" if diagnosis.searching else ""
    return f"{diagnosis.verdict}: {path}{more}"


def _finding(number: int, finding: Finding) -> Iterator[str]:
    note = ", for your information" if finding.grade is Grade.NOTE else ""
    yield f"{number}. {finding.cause} ({finding.confidence:.0%}{note})"
    yield from (f"   - {line}" for line in finding.evidence)
    fix = finding.fix
    if fix is not None and fix.command:
        yield f"   on {fix.where}: {fix.command}"
    if fix is not None and fix.also:
        yield f"   {fix.also}" if fix.command else f"   on {fix.where}: {fix.also}"


def story(name: str, known: Testimony) -> list[str]:
    """What happened between the two, as one end saw it; the latest last."""
    return [f"{name}:", *(f"   {_step(step)}" for step in known.story[-STEPS:])] if known.story else []


def _step(step: Step) -> str:
    times = f", {step.times} times since {step.since:.0f} s" if step.times > 1 else ""
    why = f": it {step.why}" if step.why else ""
    where = step.endpoint.removesuffix(":0") + ", guessed ports" if step.endpoint.endswith(":0") else step.endpoint
    return f"{step.ago:6.1f} s ago  {f'{step.what} {where}'.rstrip()}{why}{times}"
