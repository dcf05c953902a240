"""Patterns, templates, grouping, and names for display: whatever is known of keys without a tensor."""
