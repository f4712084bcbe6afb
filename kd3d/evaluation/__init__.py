"""How good a detector is, and how much of the gap to its teacher was closed."""
