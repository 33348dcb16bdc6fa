"""The log of changes."""

import json
import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.shell.firewall.sync_audit import Audit, AuditError, who

V4, V6 = ip_address("203.0.113.5"), ip_address("2001:db8::5")


def test_each_address_is_a_line_with_who_when_what_and_why(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", "nftables inet/filter/a", "https://mesh.example.com")
    audit.check()
    audit.changed({V4: 'listed for "x"\nforged'}, {})
    audit.changed({}, {V6: "nobody names it"})
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["what"], line["address"], line["why"]) for line in lines] == [
        ("add", "203.0.113.5", 'listed for "x"\nforged'),
        ("remove", "2001:db8::5", "nobody names it"),
    ]
    assert {(line["set"], line["source"], line["pid"]) for line in lines} == {
        ("nftables inet/filter/a", "https://mesh.example.com", os.getpid())
    }
    assert lines[0]["who"] == who()
    assert lines[0]["at"].endswith("Z")


def test_it_is_made_for_the_owner_alone_and_keeps_what_an_administrator_gave_it(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    audit = Audit(path, "", "")
    audit.check()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    audit.changed({V4: ""}, {})
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_was_rotated_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    audit = Audit(path, "", "")
    audit.changed({V4: ""}, {})
    path.rename(tmp_path / "audit.1")
    audit.changed({V6: ""}, {})
    assert len(path.read_text().splitlines()) == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        Audit(tmp_path / "audit", "", "").check()
    assert not (tmp_path / "elsewhere").exists()


def test_who_became_root_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    assert who().endswith("(sudo by ada)")
    monkeypatch.setenv("SUDO_USER", "a\nb")
    assert "sudo" not in who()
