"""What happened by day: every attempt at a task, in an SQLite file that any number of processes write."""
