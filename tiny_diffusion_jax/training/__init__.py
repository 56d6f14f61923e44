"""Training: batches, the pure train step, blocks of steps, and the training loop."""
