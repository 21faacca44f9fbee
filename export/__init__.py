"""The training side: content, statistics, student, distillation and export to ONNX (extra `train`)."""
