"""Follows the models on disk while ``imagegen serve`` runs."""
