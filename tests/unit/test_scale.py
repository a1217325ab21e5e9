"""docs/scale.md says what the script says."""

from __future__ import annotations

from pathlib import Path

from bench import sizes

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_shows_the_tables_that_the_script_prints() -> None:
    page = PAGE.read_text("utf-8")
    assert sizes.day() in page
    assert sizes.table() in page


def test_everything_but_the_brokers_grows_with_the_fleet() -> None:
    rows = [line.split("|")[1:-1] for line in sizes.table((100, 200)).splitlines()[2:]]
    for name, one, two in rows[:-1]:
        ratio = float(two.replace(",", "")) / float(one.replace(",", ""))
        assert 1.8 < ratio < 2.2, name


def test_a_quiet_gateway_still_says_once_a_minute_that_it_lives() -> None:
    quiet = sizes.Gateway(addresses_a_day=0, billing_a_day=0, group_a_day=0, events_a_day=0, digests_a_day=0)
    flows = {name: count for name, count, _ in quiet.flows() if count}
    assert flows == {"state documents": 1440.0, "snapshot chunks": 1 / 30}
