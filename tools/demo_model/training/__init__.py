"""What the training of every network shares: captions, images, the loop and its checkpoints."""
