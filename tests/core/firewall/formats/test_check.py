"""A plan that must not be written is refused, whatever the format; one line each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ginnel.core.firewall.formats.check import CannotExpress, check
from ginnel.core.firewall.formats.table import FORMATS
from ginnel.core.firewall.needs import Need, Plan
from tests.core.firewall.formats.plans import ANY_PORT, CONTROL, ONLY_IPV4, PINNED, RECOMMENDED

HTTPS = RECOMMENDED.needs[0]
BAD = {
    "has no needs": replace(RECOMMENDED, needs=()),
    "would allow every host": replace(PINNED, needs=(HTTPS,)),
    "the profile is": replace(RECOMMENDED, profile="open"),  # type: ignore[arg-type]
    "is none: expected a date": replace(PINNED, refresh_by="soon\naccept"),
    "has no proper id": replace(RECOMMENDED, needs=(replace(HTTPS, id='x"; drop'),)),
    "is there twice": replace(RECOMMENDED, needs=(HTTPS, HTTPS)),
    "neither in nor out": replace(RECOMMENDED, needs=(replace(HTTPS, transport="sctp"),)),  # type: ignore[arg-type]
    "neither IPv4 nor IPv6": replace(RECOMMENDED, needs=(replace(HTTPS, families=()),)),
    "has port 65536": replace(RECOMMENDED, needs=(replace(HTTPS, port=65536),)),
    "has port 0": replace(RECOMMENDED, needs=(replace(HTTPS, source_port=0),)),
    "must name its own port": replace(RECOMMENDED, needs=(Need("tunnel-in", "in", "udp", None, None),)),
    "neither name nor address": replace(
        PINNED, needs=(replace(HTTPS, hosts=(replace(CONTROL, name="", addresses=()),)),)
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("why", BAD)
def test_it_is_refused_by_every_format(why: str, name: str) -> None:
    with pytest.raises(CannotExpress) as refusal:
        FORMATS[name].render(BAD[why])
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("plan", [RECOMMENDED, PINNED, ANY_PORT, ONLY_IPV4], ids=str)
def test_a_good_plan_is_given_back(plan: Plan) -> None:
    assert check(plan) is plan


def test_a_need_of_a_map_with_the_highest_port_has_a_name_that_fits_everywhere() -> None:
    plan = replace(RECOMMENDED, needs=(replace(HTTPS, id="https-65535", port=65535),))
    assert all(FORMATS[name].render(plan) for name in FORMATS if not name.startswith("paloalto"))
