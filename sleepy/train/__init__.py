"""How long, how fast and in what precision an adapter is trained."""
