"""Many jobs at once, and what administrators see and change of a server's queues."""
