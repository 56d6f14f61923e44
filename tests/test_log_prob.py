"""Check log_prob as a JAX function, and log p along the path that draws the points."""


