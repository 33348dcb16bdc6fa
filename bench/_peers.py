"""Programs to compare with: named by an environment variable, or built by Go at pinned versions outside the project.

`python -m bench._peers` builds what is not named; without Go it says so and nothing is compared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

OFFICIAL = "v1.98.9"
MODULES = {
    "BENCH_TAILSCALED": f"tailscale.com/cmd/tailscaled@{OFFICIAL}",
    "BENCH_TAILSCALE": f"tailscale.com/cmd/tailscale@{OFFICIAL}",
    "BENCH_DERPER": f"tailscale.com/cmd/derper@{OFFICIAL}",
    "BENCH_WIREGUARD_GO": "golang.zx2c4.com/wireguard@v0.0.0-20250521234502-f333402bd9cb",
}
BUILD_LIMIT = 900.0


def absent(variable: str) -> str:
    """What a row says instead of a figure."""
    return f"{program(variable)} is absent: set {variable}, or install Go"


def program(variable: str) -> str:
    """`tailscaled` for BENCH_TAILSCALED."""
    return MODULES[variable].partition("@")[0].rpartition("/")[2]


@cache
def find(variable: str) -> str | None:
    """The binary that the variable names, else the one that Go built, else None."""
    if named := os.environ.get(variable):
        return shutil.which(named)
    module = MODULES[variable]
    target = Path.home() / ".cache" / "ginnel-bench" / module.rpartition("@")[2]
    binary = target / program(variable)
    if not binary.exists() and not _built(module, target):
        return None
    return str(binary)


def _built(module: str, target: Path) -> bool:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return False
    print(f"building {module} ...", file=sys.stderr)
    environment = {**os.environ, "GOBIN": str(target)}
    try:
        done = subprocess.run(
            (go, "install", module), env=environment, capture_output=True, text=True, check=False, timeout=BUILD_LIMIT
        )
    except subprocess.TimeoutExpired:
        print(f"{module} was not built in {BUILD_LIMIT:g} s", file=sys.stderr)
        return False
    if done.returncode:
        print(f"{module} was not built: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return done.returncode == 0


def main() -> None:
    for variable in MODULES:
        print(f"{variable}={find(variable) or ''}")


if __name__ == "__main__":
    main()
