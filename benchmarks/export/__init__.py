"""What the weight formats of an export cost, and what they change in the picture."""
