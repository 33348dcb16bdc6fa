"""`firewall open` killed with SIGKILL at each of its steps, and ufw below it: never worse than before or after, and
what is half done is mended by the next command, which says so."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from tests.shell.firewall.hosts import Host, host, program

pytestmark = pytest.mark.root

TOOLS = ("nft", "iptables", "ip6tables", "ufw")
REAL = Path("/usr/sbin/xtables-nft-multi")
KILLER = """#!/bin/sh
case "$(tr '\\0' ' ' </proc/$PPID/cmdline)" in *"firewall open"*)
  echo x >>{count}
  if [ "$(wc -l <{count})" -eq {n} ]; then
    [ {when} = after ] && {tool} "$@" >/dev/null 2>&1
    kill -9 $PPID; exit 9
  fi
esac
exec {tool} "$@"
"""
BELOW_UFW = """#!/bin/bash
if tr '\\0' ' ' </proc/$PPID/cmdline | grep -q "ufw allow"; then
  echo x >>{count}
  if [ "$(wc -l <{count})" -eq {n} ]; then
    open=$(ps -o ppid= -p $PPID | tr -d ' ')
    [ {all} = yes ] && victims="$open $(cat /proc/$open/task/*/children)" || victims=$PPID
    kill -9 $victims; exit 9
  fi
fi
exec -a "$(basename "$0")" {real} "$@"
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def rules(here: Host) -> str:
    """All that the kernel has, and what ufw's files say. ufw tries out what the kernel can in a chain that nothing
    jumps to, and which stays behind where it is killed at that."""
    trial = r"\n*\tchain ufw6?-caps-test\w+ \{\n(?:\t\t.*\n)*\t\}"
    kernel = re.sub(trial, "", here.run("nft", "-s", "list", "ruleset"))
    return kernel + (here.run("ufw", "show", "added") if here.has_ufw else "")


def path_with(directory: Path, n: int, when: str) -> str:
    """PATH=... with tools that kill `open` before or after the nth of its calls."""
    made = directory / f"bin-{n}"
    made.mkdir()
    (made / "count").touch()
    for tool in TOOLS:
        script = made / tool
        script.write_text(KILLER.format(n=n, when=when, tool=shutil.which(tool), count=made / "count"))
        script.chmod(0o755)
    return f"PATH={made}:/usr/sbin:/usr/bin:/sbin:/bin"


def open_it(here: Host, *before: str) -> tuple[int, str]:
    words = ("firewall", "open", "--socket", "/nowhere", "--state", str(here.state))
    opening = here.start(*before, *program(), *words)
    out, err = opening.communicate(timeout=120)
    return opening.returncode, out + err


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["nftables", "iptables", "ufw"])
def test_whichever_call_it_is_killed_at_the_rules_are_those_of_before_or_after(
    here: Host, kind: str, when: str, tmp_path: Path
) -> None:
    here.deny(kind)
    before = rules(here)
    open_it(here)
    after = rules(here)
    here.close()
    assert rules(here) == before != after
    for n in range(1, 40):
        status, _ = open_it(here, "env", path_with(tmp_path, n, when))
        until(lambda: rules(here) in (before, after) or None, 30, f"the guard to mend what call {n} left")
        here.close()
        assert rules(here) == before, f"call {n}"
        assert not here.records()
        if status == 0:
            break
    assert n > 4


EVERY = int(os.environ.get("GINNEL_CUT_EVERY", "4"))  # `make lab` tries each step
WAYS = (("no", "close"), ("yes", "open"), ("yes", "close"))


def test_whatever_step_ufw_is_killed_at_the_next_command_mends_it(here: Host, tmp_path: Path) -> None:
    """Every third time alone, else with `open` and its guard, so that nobody takes anything back."""
    here.deny("ufw")
    before = rules(here)
    open_it(here)
    after = rules(here)
    here.close()
    script, real, count = tmp_path / "multi", tmp_path / "real", tmp_path / "count"
    shutil.copy(REAL, real)
    script.touch(mode=0o755)
    here.in_place_of(script, REAL)
    cut = 0
    for n in range(1, 60, EVERY):
        everybody, then = WAYS[n % len(WAYS)]
        count.write_text("")
        script.write_text(BELOW_UFW.format(n=n, count=count, real=real, all=everybody))
        status, said = open_it(here)
        script.write_text(f'#!/bin/bash\nexec -a "$(basename "$0")" {real} "$@"\n')
        if status == 0:
            break
        cut += 1
        if everybody == "no":
            assert "nothing was changed" in said
            assert rules(here) == before, f"step {n}"
        elif then == "open":
            mended = here.ginnel("firewall", "open", "--socket", "/nowhere", "--state", str(here.state))
            assert "an earlier `open` was cut off" in mended
            assert rules(here) == after, f"step {n}"
        here.close()
        assert rules(here) == before, f"step {n}"
        assert not here.records()
    assert cut > 3
