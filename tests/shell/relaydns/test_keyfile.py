"""TSIG keys out of their files."""

import base64
import os

import pytest

from ginnel.shell.relaydns.keyfile import RelayDnsError, read_key_file
from ginnel.wire.dns import name_of

SECRET = base64.b64encode(bytes(range(32))).decode()
BIND = f'key "k.example" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
KNOT = f"# hmac-sha256:k.example:{SECRET}\nkey:\n  - id: k.example\n    algorithm: hmac-sha256\n    secret: {SECRET}\n"


@pytest.fixture
def key(tmp_path):
    def write(text, mode=0o600):
        path = tmp_path / "key"
        path.write_bytes(text.encode())
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        BIND,
        KNOT,
        f"hmac-sha256:k.example:{SECRET}\n",
        f"# mine\n{BIND}",
        f"key k.example. {{ secret {SECRET}; algorithm HMAC-SHA256; }};",
    ],
)
def test_the_forms_of_bind_knot_and_one_line_are_read(key, text):
    found = read_key_file(key(text))
    assert (found.name, found.algorithm, found.secret) == (name_of("k.example"), "hmac-sha256", bytes(range(32)))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_key_that_others_can_read_or_write_is_refused(key, mode):
    with pytest.raises(RelayDnsError, match="chmod 600"):
        read_key_file(key(BIND, mode))


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", BIND[:-20], f"hmac-md5:k:{SECRET}", "hmac-sha256:k:c2hvcnQ=", "hmac-sha256:k:=====",
        "hmac-sha256:a b:" + SECRET,
        'key "k" { algorithm hmac-sha256; algorithm hmac-sha256; };', "x" * 10_000, "\udcff",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_one_line_without_its_content(tmp_path, text):
    path = tmp_path / "key"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(RelayDnsError) as refused:
        read_key_file(path)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RelayDnsError, match="check its path"):
        read_key_file(tmp_path / "absent")
    with pytest.raises(RelayDnsError):
        read_key_file(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(RelayDnsError, match="not a file"):
        read_key_file(tmp_path / "pipe")
