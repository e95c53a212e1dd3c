"""Makes a Stable Diffusion 1.5-sized pipeline with random weights, for measurements only."""
