"""Patterns which match whole keys, templates which write them, grouping, and names for display. Pure."""
