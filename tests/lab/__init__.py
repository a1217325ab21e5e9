"""A reusable lab of network namespaces; tests, benches and the story of ``make run`` stand on it."""

from tests.lab.lab import Lab, bind
from tests.lab.manager import Ack, from_now, invoices
from tests.lab.topology import BANK4, BANK6, WWW4, WWW6

__all__ = ["BANK4", "BANK6", "WWW4", "WWW6", "Ack", "Lab", "bind", "from_now", "invoices"]
