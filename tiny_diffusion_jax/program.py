"""Name of the command that started this program, for messages that contain a command."""

import sys
from pathlib import Path

PACKAGE = Path(__file__).parent


def program_name() -> str:
    """Return "tiny-diffusion", "python -m tiny_diffusion_jax", or else "python main.py"."""
    path = Path(sys.argv[0])
    if path.stem == "tiny-diffusion":
        return path.stem
    is_module = path.name == "__main__.py" and path.parent.name == PACKAGE.name
    return f"python -m {PACKAGE.name}" if is_module else "python main.py"
