"""Whatever colour a provider has, the page can be read; a nonce is its address's and its minutes' own; certificates."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import ConfigError
from edged.portal import look
from edged.portal.nonce import MINUTES, Nonces
from edged.portal.tls import Certificate
from tests.certificates import Authority

colours = st.integers(0, 0xFFFFFF).map(lambda n: f"#{n:06x}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_our_colours_have_contrast(scheme: str) -> None:
    css = (resources.files("edged.portal") / "templates" / "page.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[scheme == "dark"]))
    assert (colours["paper"], colours["ground"]) == (look.DARK if scheme == "dark" else look.LIGHT)
    for ink, paper in [
        ("text", "paper"), ("text", "ground"), ("soft", "ground"), ("soft", "paper"), ("link", "paper"), ("on", "link"),
        ("good", "paper"),
    ]:  # fmt: skip
        assert look.contrast(colours[ink], colours[paper]) >= look.CONTRAST, (ink, paper)  # WCAG 2.2, 1.4.3
    for ink, paper in [("line", "paper"), ("stop", "paper"), ("link", "ground")]:
        assert look.contrast(colours[ink], colours[paper]) >= 3, (ink, paper)  # 1.4.11


@given(colours, st.sampled_from([look.LIGHT, look.DARK]))
@settings(max_examples=200, deadline=None)
def test_any_colour_becomes_one_that_can_be_read(colour: str, papers: tuple[str, str]) -> None:
    shade, ink = look.scheme(colour, papers)
    assert all(look.contrast(shade, paper) >= look.CONTRAST for paper in papers)
    assert look.contrast(ink, shade) >= look.CONTRAST


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert look.scheme("#0b4f8a", look.LIGHT) == ("#0b4f8a", "#ffffff")
    assert look.style("") == ""


@given(st.text(max_size=80), st.integers(0, 10**7), st.integers(-100, 100))
@settings(deadline=None)
def test_a_nonce_is_taken_from_whom_it_was_given_to_and_in_time(text: str, minute: int, passed: int) -> None:
    nonces = Nonces(b"k" * 32)
    nonce = nonces.give("100.64.0.10", minute)
    assert nonces.takes(nonce, "100.64.0.10", minute + passed) is (0 <= passed <= MINUTES)
    assert not nonces.takes(nonce, "100.64.0.11", minute)
    assert not Nonces(b"j" * 32).takes(nonce, "100.64.0.10", minute)
    assert nonces.takes(text, "100.64.0.10", minute) is (text == nonce)


def test_a_wrong_pair_is_named_and_what_was_in_force_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    good = Certificate(*one)
    good.load()
    for pair, said in [
        ((one[0], other[1]), "that of the certificate"), ((tmp_path / "none", one[1]), "portal.cert_file"),
        ((one[0], one[0]), "both must be PEM"), ((one[0], tmp_path), "portal.key_file"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Certificate(*pair).load()
    before = good._newest
    one[1].write_text("no key")
    good.reload()
    assert good._newest is before
    assert "the certificate in force stays" in caplog.text
