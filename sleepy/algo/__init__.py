"""Ways of training an adapter, one file each."""
