"""Models and adapters that commands fetch, and the graph.pbtxt that they get."""
