"""What `imagegen export` runs in an environment of its own (``tools/torch_environment.sh``): PyTorch to OpenVINO."""
