"""Where a model doubts while it repeats a broken program, and what the search for a repair makes of that: as a page."""
