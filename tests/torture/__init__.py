"""Kills and power cuts at random points of a random command stream, and a judge of what is left (docs/torture.md)."""
