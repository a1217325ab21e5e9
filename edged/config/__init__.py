"""What the operator wrote: ``/etc/edged/edged.toml``, each key also as ``EDGED_<SECTION>__<KEY>``.

``models`` and ``security`` hold the keys with their meaning, ``checks`` what makes a value possible, ``loading`` reads
the file and the environment, ``mistakes`` says what is wrong in sentences, ``explain`` lists what is in force, where it
came from, and what is legal but unwise.
"""

from edged.config.checks import Broker, Listen, broker, is_loopback, listen
from edged.config.explain import Setting, settings, warnings
from edged.config.loading import DEFAULT_PATH, Loaded, config_path, load, load_with_origins, with_security
from edged.config.models import (
    Config,
    GardenSection,
    Look,
    MetricsSection,
    MqttSection,
    NetworkSection,
    PolicySection,
    PortalSection,
    Provider,
)
from edged.config.security import IssuerSection, SecuritySection

__all__ = [
    "DEFAULT_PATH",
    "Broker",
    "Config",
    "GardenSection",
    "IssuerSection",
    "Listen",
    "Loaded",
    "Look",
    "MetricsSection",
    "MqttSection",
    "NetworkSection",
    "PolicySection",
    "PortalSection",
    "Provider",
    "SecuritySection",
    "Setting",
    "broker",
    "config_path",
    "is_loopback",
    "listen",
    "load",
    "load_with_origins",
    "settings",
    "warnings",
    "with_security",
]
