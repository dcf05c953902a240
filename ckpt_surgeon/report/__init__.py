"""Header, Diff, Plan, Outcome, Explanation -> text, JSON, markdown, html. Returns str, prints nothing."""
