"""Runs repeated: what they were made with, what they made, and how far a repetition comes to the same."""
