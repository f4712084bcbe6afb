"""From an exported file's tensors to final boxes, and to accuracy in the detector's place."""
