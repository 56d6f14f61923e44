"""Training: what a batch is, the pure step and its block, the loop."""
