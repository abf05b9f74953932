"""Models as ONNX graphs: export, and an engine that needs numpy and ONNX Runtime only."""
