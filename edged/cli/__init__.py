"""What a person types. ``app`` has a gateway's commands, ``audit`` one more, ``central`` those beside billing.

``lines`` is what the latter read, ``fleet`` a table they show; ``options`` the options, ``screens`` what is printed,
``why`` what is said of a subscriber (in the ``words`` of two languages), ``logs`` how the daemon speaks.
"""

from edged.cli.app import main

__all__ = ["main"]
