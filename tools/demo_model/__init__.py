"""Makes the bundled demo model and its style adapters from random weights: ``python -m tools.demo_model --help``."""
