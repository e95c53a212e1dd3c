"""Makes the bundled demo model and its style adapters from nothing: ``python -m tools.demo_model --help``."""
