"""Which adapter answers which koan, chosen from the compiler's error before anything is generated."""
