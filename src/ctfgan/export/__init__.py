"""A generator for other programs: ONNX, torch.export, a folder for the Hugging Face Hub."""
