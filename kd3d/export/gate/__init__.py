"""The parity gate: is a file in a backend what PyTorch is, on three levels?"""
