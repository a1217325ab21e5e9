"""The provider's colour and logo, checked when the portal starts: a page nobody can read is worse than a plain one.

One colour is given; the pages need it as text on paper and ground, and as a button's ground, in a light and in a dark
scheme. It is moved towards black or white until it has the contrast that WCAG 2.2 asks for (1.4.3: 4.5 to 1). Pure but
for :func:`read_logo`.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path

from edged.errors import ConfigError

CONTRAST = 4.5
LIGHT, DARK = ("#ffffff", "#eef1f4"), ("#18212b", "#0e141a")
"""Paper and ground of the two schemes, as templates/page.css has them."""
INKS = ("#ffffff", "#0e141a")
"""What may stand on a button, light first."""
LOGO_BYTES = 12 * 1024
"""A page with everything stays below 30 KB."""
_STEPS = 100
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture and its media type."""

    data: bytes
    media_type: str


def scheme(colour: str, papers: tuple[str, str]) -> tuple[str, str]:
    """The nearest readable shade of ``colour`` (``#rrggbb``) on both papers, and the ink for a button of that shade."""
    toward = 0.0 if luminance(papers[0]) > 0.5 else 1.0
    hue, lightness, saturation = colorsys.rgb_to_hls(*_parts(colour))
    for step in range(_STEPS + 1):
        mixed = lightness + (toward - lightness) * step / _STEPS
        shade = _hex(colorsys.hls_to_rgb(hue, mixed, saturation))
        ink = max(INKS, key=lambda one: contrast(one, shade))
        if min(contrast(shade, paper) for paper in papers) >= CONTRAST and contrast(ink, shade) >= CONTRAST:
            return shade, ink
    raise AssertionError("black and white have contrast with every paper")


def style(colour: str) -> str:
    """Style rules that put ``colour`` in the place of ours; empty for an empty one."""
    if not colour:
        return ""
    (light, on_light), (dark, on_dark) = scheme(colour, LIGHT), scheme(colour, DARK)
    return (
        f":root {{ --link: {light}; --on: {on_light}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --link: {dark}; --on: {on_dark}; }} }}\n"
    )


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours, 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance, 0 to 1."""
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in _parts(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def read_logo(file: Path | None) -> Logo | None:
    """The logo in ``file``. Raises ConfigError: it cannot be read, is too large, or is no picture a browser knows."""
    if file is None:
        return None
    key = f"portal.look.logo_file = {str(file)!r}"
    try:
        with file.open("rb") as stream:
            data = stream.read(LOGO_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key}: {error.strerror}; let the account edged-portal read it, or leave it out") from error
    if len(data) > LOGO_BYTES:
        raise ConfigError(f"{key}: is larger than {LOGO_BYTES} bytes; make it smaller: pages are read on slow lines")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Logo(data, "image/webp")
    for magic, media_type in _MAGIC.items():
        if data.startswith(magic):
            return Logo(data, media_type)
    raise ConfigError(f"{key}: is not PNG, JPEG, GIF or WebP; convert it")


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return red, green, blue


def _hex(parts: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
