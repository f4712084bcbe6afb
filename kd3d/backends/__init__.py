"""What runs a model: one contract, one file a backend."""
