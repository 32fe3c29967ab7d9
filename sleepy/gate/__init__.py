"""Promote an adapter or refuse it: one rule a module, each with a reason that a person can read."""
