"""Models outside of eager PyTorch: captured as a graph, written as ONNX or a torch program, run by other runtimes."""
