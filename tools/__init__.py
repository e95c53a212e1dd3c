"""Programs for those who work on the project; the service imports none of them."""
