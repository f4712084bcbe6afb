"""Several runs as one: a distilled student beside its teacher and its twins."""
