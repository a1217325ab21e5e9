"""edged keeps an internet provider's gateway true to what billing decided."""

__version__ = "0.1.0"
