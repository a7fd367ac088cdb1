"""Names under which an ONNX model says something of itself."""

INT8_LAYERS = "ponas.int8_layers"
"""Which of its layers are to be on 8-bit integers, blanks between them."""
