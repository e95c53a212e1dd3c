"""Our own options of models, which OpenVINO Model Server does not have: the files imagegen.toml."""
