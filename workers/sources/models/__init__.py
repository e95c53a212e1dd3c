"""Models from Hugging Face, or from a mirror with the same API: listed, chosen, downloaded and checked."""
