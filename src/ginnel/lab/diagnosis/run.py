"""One fault from a standing mesh to a verdict on the doctor.

Room: lab. The order: the network stands, both log in and talk, the path is what it should be, the fault is done and
proved to be in force by packets; only then is the doctor asked.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import structs

from ginnel.lab import LabError
from ginnel.lab.diagnosis.fault import Fault, Proof, View
from ginnel.lab.diagnosis.report import Case, Diagnosis
from ginnel.lab.diagnosis.world import World
from ginnel.lab.topology import Topology

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
DOCTOR_LIMIT = 60.0
LOOK_AGAIN = 0.5
SEARCHES_END = 28.0  # docs/nat-traversal.md: a search through a hard NAT takes 20 s and begins after 2
ALL_WELL = "direct"


def examine(faults: list[Fault], seed: int, tell: Tell, *, jobs: int, logs: Path | None, doctor: bool) -> list[Case]:
    """In the order of `faults`; a line for each as it is done. doctor: else faults are proved and nobody is asked."""
    count = itertools.count(1)

    def one(fault: Fault) -> Case:
        case = examine_one(fault, seed, logs, doctor=doctor)
        done = next(count)
        for line in lines(case, doctor):
            tell(f"[{done:2}/{len(faults)}] {line}")
        return case

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, faults))


def examine_one(fault: Fault, seed: int, logs: Path | None, *, doctor: bool) -> Case:
    """Never raises: one network that goes wrong in a way of its own must not cost what was found in all the others."""
    rng = random.Random(f"{seed} {fault.name}")  # noqa: S311  what the seed picks is no secret
    topology = fault.sites(rng)
    started = time.monotonic()
    found, diagnoses, error = Proof(False, "not tried"), list[Diagnosis](), ""
    try:
        with World(topology, rng, fault.relays) as world:
            try:
                found = bring_about(world, fault)
                if doctor and found.holds:
                    if any(view.peer for view in fault.views):
                        let_search_end(world)
                    diagnoses = [ask(world, view, fault) for view in fault.views]
            finally:
                if logs is not None:
                    world.lab.copy_logs(logs / fault.name)
    except (LabError, OSError) as why:
        error = str(why)
    except Exception as why:
        log.exception("a fault of the lab's own: %s", fault.name)
        error = f"a fault of the lab's own: {type(why).__name__}: {why}"
    took = round(time.monotonic() - started, 2)
    networks = networks_of(topology)
    return Case(
        fault.name, fault.group, fault.about, fault.healthy, networks, found.holds, found.detail, took, diagnoses, error
    )


def bring_about(world: World, fault: Fault) -> Proof:
    fault.before(world)
    world.start(patient=not fault.joins)
    fault.setup(world)
    if fault.joins:
        world.join()
        if fault.talks:
            world.talk()
        if fault.meets:
            world.settle(fault.meets)
    fault.inject(world)
    return fault.prove(world)


def let_search_end(world: World) -> None:
    """People ask why they are relayed when they have been for a while; before, a doctor can only say: wait."""
    world.sees(lambda: world.ways() != ("relay", "relay"), SEARCHES_END, LOOK_AGAIN)


def networks_of(topology: Topology) -> dict[str, str]:
    """The NATs between each machine and the internet, nearest first."""
    nats = {router.name: router.nat for router in topology.routers}
    return {
        host.name: " + ".join(nats[name] for name in topology.path_to_internet(host.name)) or "none"
        for host in topology.hosts
        if host.name in ("alice", "bob")
    }


def ask(world: World, view: View, fault: Fault) -> Diagnosis:
    ways = safe_ways(world)
    started = time.monotonic()
    asked = world.members[view.at].ask("doctor", *([view.peer] if view.peer else []), "--json")
    error = ""
    try:
        asked.wait(DOCTOR_LIMIT)
        answer = json.loads(asked.said_now())
    except (LabError, ValueError) as why:
        asked.kill()
        answer, error = {}, f"{why}; {asked.last_words()}"
    return structs.replace(judged(view, fault, answer, round(time.monotonic() - started, 2), error), ways=ways)


def safe_ways(world: World) -> tuple[str, str]:
    """Daemons may be down, and the mesh not known."""
    try:
        return world.ways()
    except LabError:
        return "", ""


def judged(view: View, fault: Fault, answer: dict[str, Any], seconds: float, error: str = "") -> Diagnosis:
    causes = [cause for cause in answer.get("causes") or [] if isinstance(cause, dict)]
    said = [str(cause.get("cause")) for cause in causes]
    right = (view.cause, *view.also) if view.cause else (ALL_WELL,)
    verdict = str(answer.get("verdict", ""))
    fine = fault.healthy or view.informational
    where = next((cause for cause in causes if cause.get("cause") in right), None)
    return Diagnosis(
        view.at,
        view.peer,
        view.cause,
        view.also,
        view.informational,
        said,
        verdict,
        top1=said[0] in right if said else fault.healthy and verdict == "healthy",
        top3=bool(set(said[:3]) & set(right)) or (not said and fault.healthy and verdict == "healthy"),
        named=not view.names or (where is not None and any(name in json.dumps(where) for name in view.names)),
        right_verdict=verdict == "healthy" if fine else verdict in ("degraded", "broken"),
        mends=mends(view, where),
        seconds=seconds,
        error=error,
        answer=answer,
    )


def mends(view: View, cause: dict[str, Any] | None) -> bool | None:
    """None: nothing is asked of the way out."""
    if not (view.mend_at or view.mend):
        return None
    fix = (cause or {}).get("fix") or {}
    there = view.mend_at in ("", fix.get("where"))
    return there and (not view.mend or str(fix.get("command")).startswith(view.mend))


def lines(case: Case, doctor: bool) -> list[str]:
    """One for each diagnosis; one alone where nobody was asked."""
    where = ", ".join(f"{host} {nat}" for host, nat in case.networks.items())
    if case.error or not case.proved or not doctor:
        mark = "ok  " if case.proved and not case.error else "FAIL"
        return [f"{mark} {case.name} ({where}) {case.seconds:.1f} s: {case.error or case.proof}"]
    return [line(case, one, where) for one in case.diagnoses]


def line(case: Case, one: Diagnosis, where: str) -> str:
    mark = "ok  " if one.right or (case.healthy and one.right_verdict) else "MISS"
    heard = f"{one.verdict or 'no verdict'}: {', '.join(one.said[:3]) or 'nothing'}"
    want = one.expected or "healthy"
    unnamed = "" if one.named else " (does not say which)"
    unnamed += " (another way out)" if one.mends is False else ""
    asked = f"{case.name} ({where}; {'-'.join(dict.fromkeys(one.ways))}) {one.at}: doctor {one.peer}".rstrip()
    return f"{mark} {asked} -> {heard}{unnamed}; want {want} {one.seconds:.1f} s"
