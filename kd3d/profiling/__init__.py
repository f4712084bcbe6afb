"""How fast a model runs, and on what."""
