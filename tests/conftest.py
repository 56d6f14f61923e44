"""One cache of compiled programs for all tests and for the processes they start: half the time."""

import os
import tempfile

# Before jax is imported, which reads them once.
CACHE = tempfile.TemporaryDirectory(prefix="xla_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
