"""What a person types. ``app`` has the commands, ``options`` their options, ``screens`` what they print, ``logs``
how the daemon speaks.
"""

from edged.cli.app import main

__all__ = ["main"]
