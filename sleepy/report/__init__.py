"""What a run came to: a table in the terminal, report.md and its pictures."""
