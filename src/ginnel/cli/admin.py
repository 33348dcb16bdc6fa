"""`ginnel users|preauthkeys|nodes|auth|policy`: what an admin says to the running server.

Room: cli.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ginnel.shell.control.adminclient import AdminError, call
from ginnel.shell.control.place import ADMIN_SOCKET, default_state

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def ask(state: str | None, verb: str, arguments: dict[str, Any]) -> Any:
    try:
        return call(Path(state or default_state()) / ADMIN_SOCKET, verb, arguments)
    except AdminError as error:
        raise click.ClickException(str(error)) from None


def seconds(text: str) -> float:
    """`90`, `30m`, `1h30m`, `7d`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdwy]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise click.ClickException(f"{text!r} is not a time: write 30m, 24h or 7d")
    return sum(float(number) * UNITS[unit or "s"] for number, unit in parts)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every verb."""
    command = click.option("--state", help="The server's state directory.")(command)
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    return click.option("-o", "--output", type=click.Choice(["json"]), help="The same as --json.")(command)


def show(value: Any, as_json: bool, output: str | None, plain: Callable[[Any], None]) -> None:
    if as_json or output == "json":
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        plain(value)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns apart by two spaces; what nodes say of themselves loses its control characters."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *cells]) for i in range(len(head))]
    for line in [list(head), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value in (None, "", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(c for c in text if c.isprintable())


# --- users -----------------------------------------------------------------------------------------------------


@click.group()
def users() -> None:
    """Manage users of the coordination server."""


def _users_table(listed: list[dict[str, Any]]) -> None:
    table(["ID", "NAME", "CREATED"], [(u["id"], u["name"], u["created_at"]) for u in listed])


@users.command("list")
@common
def users_list(state: str | None, as_json: bool, output: str | None) -> None:
    """Show all users."""
    show(ask(state, "users.list", {}), as_json, output, _users_table)


@users.command("create")
@click.argument("name")
@common
def users_create(name: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Make a user."""
    show(ask(state, "users.create", {"name": name}), as_json, output, lambda u: print(f"User {u['name']} created."))


@users.command("rename")
@click.argument("name")
@click.argument("new_name")
@common
def users_rename(name: str, new_name: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Give a user another name."""
    answer = ask(state, "users.rename", {"name": name, "new_name": new_name})
    show(answer, as_json, output, lambda u: print(f"User {name} is {u['name']} now."))


@users.command("destroy")
@click.argument("name")
@common
def users_destroy(name: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Remove a user who has no machines left."""
    show(ask(state, "users.destroy", {"name": name}), as_json, output, lambda _: print(f"User {name} destroyed."))


# --- pre-auth keys ---------------------------------------------------------------------------------------------


@click.group()
def preauthkeys() -> None:
    """Manage keys that let machines join."""


def _keys_table(listed: list[dict[str, Any]]) -> None:
    head = ["ID", "PREFIX", "USER", "REUSABLE", "EPHEMERAL", "USED", "REVOKED", "EXPIRATION", "TAGS"]
    rows = [
        (
            k["id"], k["prefix"], (k["user"] or {}).get("name"), k["reusable"], k["ephemeral"], k["used"], k["revoked"],
            k["expiration"], k["acl_tags"],
        )
        for k in listed
    ]  # fmt: skip
    table(head, rows)


@preauthkeys.command("list")
@click.option("-u", "--user", default="", help="Only this user's.")
@common
def preauthkeys_list(user: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Show pre-auth keys by their prefix; the keys themselves are kept nowhere."""
    show(ask(state, "preauthkeys.list", {"user": user}), as_json, output, _keys_table)


@preauthkeys.command("create")
@click.option("-u", "--user", default="", help="Who will own the machines.")
@click.option("--reusable", is_flag=True, help="Good for many machines.")
@click.option("--ephemeral", is_flag=True, help="Machines are deleted when they have gone for a while.")
@click.option("-e", "--expiration", default="1h", show_default=True, help="How long the key is good for.")
@click.option("--tags", default="", help="Tags the machines get, apart by commas: tag:a,tag:b.")
@common
def preauthkeys_create(  # noqa: PLR0917
    user: str, reusable: bool, ephemeral: bool, expiration: str, tags: str,
    state: str | None, as_json: bool, output: str | None,
) -> None:  # fmt: skip
    """Make a pre-auth key; it is shown once."""
    arguments = {
        "user": user,
        "reusable": reusable,
        "ephemeral": ephemeral,
        "expiration": seconds(expiration),
        "tags": [tag for tag in tags.split(",") if tag],
    }
    show(ask(state, "preauthkeys.create", arguments), as_json, output, lambda key: print(key["key"]))


@preauthkeys.command("expire")
@click.argument("key")
@common
def preauthkeys_expire(key: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Revoke a pre-auth key, named by its prefix, its number or itself."""
    show(ask(state, "preauthkeys.expire", {"key": key}), as_json, output, lambda _: print("Key revoked."))


# --- nodes -----------------------------------------------------------------------------------------------------


@click.group()
def nodes() -> None:
    """Manage the machines of the mesh."""


def _nodes_table(listed: list[dict[str, Any]]) -> None:
    """The columns are headscale's."""
    head = ["ID", "HOSTNAME", "NAME", "MACHINEKEY", "NODEKEY", "USER", "TAGS", "IP ADDRESSES", "EPHEMERAL", "LAST SEEN",
            "EXPIRATION", "CONNECTED", "EXPIRED"]  # fmt: skip
    rows = [
        (
            n["id"], n["name"], n["given_name"], _short(n["machine_key"]), _short(n["node_key"]), n["user"]["name"],
            n["tags"], n["ip_addresses"], n["ephemeral"], n["last_seen"], n["expiry"], n["online"], n["expired"],
        )
        for n in listed
    ]  # fmt: skip
    table(head, rows)


def _short(key: str) -> str:
    """As `PublicKey.short` writes it, without loading what keys need."""
    return "[" + base64.b64encode(bytes.fromhex(key.rpartition(":")[2]))[:5].decode() + "]"


@nodes.command("list")
@click.option("-u", "--user", default="", help="Only this user's.")
@common
def nodes_list(user: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Show all machines."""
    show(ask(state, "nodes.list", {"user": user}), as_json, output, _nodes_table)


def _named(names: tuple[str, ...], identifier: str | None) -> tuple[str, ...]:
    """Nodes are named as arguments, or by --identifier as headscale's habit is."""
    found = (identifier, *names) if identifier else names
    if not found:
        raise click.UsageError("name a node: its id or its name")
    return found


@nodes.command("delete")
@click.argument("node", nargs=-1)
@click.option("-i", "--identifier", help="The node's id.")
@common
def nodes_delete(
    node: tuple[str, ...], identifier: str | None, state: str | None, as_json: bool, output: str | None
) -> None:
    """Delete a machine."""
    answer = ask(state, "nodes.delete", {"node": _named(node, identifier)[0]})
    show(answer, as_json, output, lambda n: print(f"Node {n['given_name']} deleted."))


@nodes.command("expire")
@click.argument("node", nargs=-1)
@click.option("-i", "--identifier", help="The node's id.")
@common
def nodes_expire(
    node: tuple[str, ...], identifier: str | None, state: str | None, as_json: bool, output: str | None
) -> None:
    """Log a machine out: it has to log in again."""
    answer = ask(state, "nodes.expire", {"node": _named(node, identifier)[0]})
    show(answer, as_json, output, lambda n: print(f"Node {n['given_name']} expired."))


@nodes.command("rename")
@click.argument("node", nargs=-1)
@click.option("-i", "--identifier", help="The node's id.")
@common
def nodes_rename(
    node: tuple[str, ...], identifier: str | None, state: str | None, as_json: bool, output: str | None
) -> None:
    """Give a machine another name: `rename NODE NAME` or `rename -i ID NAME`."""
    named = _named(node, identifier)
    if len(named) != 2:
        raise click.UsageError("name the node and its new name")
    answer = ask(state, "nodes.rename", {"node": named[0], "new_name": named[1]})
    show(answer, as_json, output, lambda n: print(f"Node {n['id']} is {n['given_name']} now."))


@nodes.command("register")
@click.option("-k", "--key", required=True, help="The id at the end of the login URL.")
@click.option("-u", "--user", required=True, help="Who owns the machine.")
@common
def nodes_register(key: str, user: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Let a waiting machine in (the same as `ginnel auth approve`)."""
    _approve(key, user, state, as_json, output)


# --- auth ------------------------------------------------------------------------------------------------------


@click.group()
def auth() -> None:
    """Approve machines that wait to join."""


def _logins_table(listed: list[dict[str, Any]]) -> None:
    rows = [(p["id"], p["hostname"], p["os"], p["tags"], f"{p['seconds_left']} s") for p in listed]
    table(["ID", "HOSTNAME", "OS", "TAGS", "TIME LEFT"], rows)


@auth.command("list")
@common
def auth_list(state: str | None, as_json: bool, output: str | None) -> None:
    """Show machines that wait to be let in."""
    show(ask(state, "auth.list", {}), as_json, output, _logins_table)


@auth.command("approve")
@click.argument("login")
@click.option("-u", "--user", required=True, help="Who owns the machine.")
@common
def auth_approve(login: str, user: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Let a waiting machine in, named by its id or its URL."""
    _approve(login, user, state, as_json, output)


@auth.command("register")
@click.option("--auth-id", required=True, help="The id at the end of the login URL.")
@click.option("-u", "--user", required=True, help="Who owns the machine.")
@common
def auth_register(auth_id: str, user: str, state: str | None, as_json: bool, output: str | None) -> None:
    """Let a waiting machine in (headscale's words for `approve`)."""
    _approve(auth_id, user, state, as_json, output)


def _approve(login: str, user: str, state: str | None, as_json: bool, output: str | None) -> None:
    answer = ask(state, "auth.approve", {"id": login, "user": user})
    show(
        answer, as_json, output, lambda n: print(f"Node {n['given_name']} joined as {n['ip_addresses'][0]} for {user}.")
    )


# --- policy ----------------------------------------------------------------------------------------------------


@click.group()
def policy() -> None:
    """Show, set or check the access policy."""


@policy.command("get")
@common
def policy_get(state: str | None, as_json: bool, output: str | None) -> None:
    """Print the policy in force, as it was written."""

    def plain(answer: dict[str, Any]) -> None:
        if answer["version"] == 0:
            print("No policy is set: the mesh's own machines may all talk.", file=sys.stderr)
        else:
            print(answer["text"], end="" if answer["text"].endswith("\n") else "\n")

    show(ask(state, "policy.get", {}), as_json, output, plain)


@policy.command("set")
@click.argument("file", required=False)
@click.option("-f", "--file", "option_file", help="The same, as headscale's habit is.")
@common
def policy_set(file: str | None, option_file: str | None, state: str | None, as_json: bool, output: str | None) -> None:
    """Check the policy in FILE (- is standard input) and put it into force."""
    answer = ask(state, "policy.set", {"text": _read(file or option_file)})
    show(answer, as_json, output, lambda a: print(f"Policy version {a['version']} is in force."))


@policy.command("check")
@click.argument("file", required=False)
@click.option("-f", "--file", "option_file", help="The same, as headscale's habit is.")
@common
def policy_check(
    file: str | None, option_file: str | None, state: str | None, as_json: bool, output: str | None
) -> None:
    """Check the policy in FILE (- is standard input) against the running server, and change nothing."""
    answer = ask(state, "policy.check", {"text": _read(file or option_file)})
    show(answer, as_json, output, lambda _: print("The policy is in order."))


def _read(file: str | None) -> str:
    if file is None:
        raise click.UsageError("name the policy's file; - is standard input")
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise click.ClickException(f"cannot read {file}: {reason}") from None
