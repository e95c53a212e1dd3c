"""Which models API processes list, and what becomes of those that they list no longer."""
