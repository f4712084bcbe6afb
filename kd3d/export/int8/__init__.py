"""INT8 files by explicit Q/DQ: ranges, what stays float, what a training left."""
