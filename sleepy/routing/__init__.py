"""Which adapter answers which koan, chosen by the compiler's error before anything is generated."""
