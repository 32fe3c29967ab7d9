"""A sweep: its jobs composed and checked whole, done unless they are, and set side by side."""
