"""A judge of the demo model without torch: the world it knows, prompts, drawn scenes, and a scorer of images."""
