"""What is exported of each kind of detector: network and decoding, in operators of ONNX."""
