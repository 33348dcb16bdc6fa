"""What the system is set to, as its files and the environment say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ginnel.shell.doctor import machine


@pytest.mark.parametrize(
    ("named", "behind", "found"),
    [
        ("search lan\n# nameserver 9.9.9.9\nnameserver 192.168.1.1\nnameserver\n", "", ("192.168.1.1",)),
        ("nameserver 127.0.0.53\n", "nameserver 10.0.0.1\nnameserver 10.0.0.2\n", ("10.0.0.1", "10.0.0.2")),
        ("".join(f"nameserver 10.0.0.{n}\n" for n in range(9)), "", tuple(f"10.0.0.{n}" for n in range(4))),
        ("", "", ()),
    ],
)
def test_who_is_asked_for_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str, behind: str, found: tuple[str, ...]
) -> None:
    for name, text in (("RESOLV_CONF", named), ("RESOLVED_CONF", behind)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(machine, name, tmp_path / name)
    assert machine.resolvers() == found


def test_a_unit_counts_where_systemd_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "UNITS", (tmp_path / "nowhere", tmp_path))
    monkeypatch.setattr(machine, "SYSTEMD", tmp_path)
    assert not machine.has_unit()
    (tmp_path / "ginneld.service").touch()
    assert machine.has_unit()
    monkeypatch.setattr(machine, "SYSTEMD", tmp_path / "nowhere")
    assert not machine.has_unit()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://user:secret@proxy.example:3128", "proxy.example:3128"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://[::1", ""),
        ("", ""),
    ],
)
def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, value: str, shown: str) -> None:
    for name in machine.PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", value)
    assert machine.proxy() == shown
