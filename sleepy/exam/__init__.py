"""Koans: read, proved by rustc, audited, frozen."""
