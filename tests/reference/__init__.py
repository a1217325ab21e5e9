"""A second opinion on the business rules, deliberately naive: it imports nothing of edged, and shares no table."""
