"""Rust as text: tokens, similarity, and what the compiler said, parsed, shortened and compared."""
