"""A user's own broken Rust."""
