"""Downloads of adapters: from Hugging Face, from URLs, and local paths."""
