"""The networks of the demo model, their tokenizer and adapters, and the training of each."""
