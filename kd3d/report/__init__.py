"""Records of what was measured, and the table and the page made from them."""
