"""Who may go on uploading: who does so here, and nodes of this project; nobody else, or it would be elsewhere."""

import pytest

from ginnel.core.logs.quiet import may_upload

HERE = "ab" * 32


@pytest.mark.parametrize(
    ("hostinfo", "quiet_others", "expected"),
    [
        ({"OS": "linux", "BackendLogID": HERE}, True, True),
        ({"OS": "linux", "BackendLogID": "cd" * 32}, True, False),
        ({"OS": "linux", "BackendLogID": "cd" * 32, "Package": "ginnel"}, True, True),
        ({"OS": "linux", "Package": "ginnel"}, True, False),
        ({"OS": "linux"}, True, False),
        ({"OS": "linux"}, False, True),
        ({"OS": "iOS", "BackendLogID": HERE}, False, False),
        ({"OS": "android"}, False, False),
        ({}, True, False),
    ],
)
def test_who_may_upload(hostinfo: dict[str, str], quiet_others: bool, expected: bool) -> None:
    assert may_upload(hostinfo, lambda log_id: log_id == HERE, quiet_others=quiet_others) is expected
