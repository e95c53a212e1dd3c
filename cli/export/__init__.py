"""Models of PyTorch that become OpenVINO models: ``imagegen export``."""
