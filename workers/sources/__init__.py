"""From an adapter's source to its file: Hugging Face, URLs, local paths."""
