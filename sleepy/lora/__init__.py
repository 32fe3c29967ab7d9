"""The shape of an adapter."""
