"""What networks, training, teachers and evaluation cost, measured by the benchmark tools."""
