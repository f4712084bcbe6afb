"""The parts of the predictor (roofline.py): graphs, fusion, work, kernel times, and its fit."""
