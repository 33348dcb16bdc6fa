"""Who may join the fleet as what, and what a region may be."""

from __future__ import annotations

import pytest

from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import FleetRegion, RelayRecord
from ginnel.core.control.refused import Refused
from ginnel.wire.relaycontrol import RelayHello
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import MachineKey, NodeKey, WallTime

NOW = WallTime(1_800_000_000.0)
NODE = DERPNode("", 901, "192.0.2.1")


def with_two_relays() -> FleetBook:
    book = FleetBook()
    book.apply(FleetRegion(901, "fra"))
    for number in (1, 2):
        machine, key = MachineKey(bytes([number]) * 32), NodeKey(bytes([number + 10]) * 32)
        book.apply(RelayRecord(number, 901, "ab"[number - 1], machine, key, NODE, NOW))
    return book


def test_a_relay_that_comes_back_may_have_another_key_but_no_other_relays() -> None:
    book = with_two_relays()
    second = MachineKey(bytes([2]) * 32)
    record, rows = book.join(second, RelayHello(NodeKey(bytes([99]) * 32), NODE), NOW, ())
    assert (record.key, len(rows)) == (NodeKey(bytes([99]) * 32), 1)
    with pytest.raises(Refused, match="another relay of the fleet has this key"):
        book.join(second, RelayHello(NodeKey(bytes([11]) * 32), NODE), NOW, ())


@pytest.mark.parametrize(("latitude", "longitude"), [(90.5, 0.0), (0.0, -181.0), (float("nan"), 0.0)])
def test_a_region_lies_on_this_globe(latitude: float, longitude: float) -> None:
    with pytest.raises(Refused, match="latitude is -90 to 90"):
        FleetBook().region_for(FleetRegion(902, "nyc", latitude=latitude, longitude=longitude), None)


def test_a_token_that_cannot_be_used_says_how_to_get_one_that_can() -> None:
    book = FleetBook()
    text, token = book.create_token(901, bytes(range(26)), NOW, WallTime(NOW + 60))
    book.apply(token)
    for said, at in ((text, WallTime(NOW + 61)), ("grelay-unknown", NOW)):
        with pytest.raises(Refused, match="make another on the server with `ginnel relay token create`"):
            book.redeemable(said, at)
