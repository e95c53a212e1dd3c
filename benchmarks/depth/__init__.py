"""What each call costs while few and many jobs wait."""
