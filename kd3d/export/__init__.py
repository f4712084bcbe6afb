"""From a trained detector to a file that a vehicle runs, with proof that both agree."""
