"""Write the figures and pages of a run, so that an error in one of them does not lose another."""

import contextlib
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from tiny_diffusion_jax.errors import reason_of

log = logging.getLogger("tiny_diffusion_jax")


class ReportIncomplete(RuntimeError):
    """Some figures or pages were not written."""

    exit_code = 1


class Attempts:
    """Write files of a folder one after the other; raise ReportIncomplete at the end if one fails.

    An error in one file does not stop the next files.
    """

    def __init__(self, folder: Path):
        self.folder, self.failed = folder, []

    def __enter__(self):
        return self

    def write(self, name: str, write: Callable[[Path], bool | None]) -> bool:
        """Call `write(folder / name)` and return whether it wrote the file.

        `write` returns False if there is nothing to show. After an error, the file of an earlier
        call is removed, because it shows other samples.
        """
        file = self.folder / name
        try:
            return write(file) is not False
        except Exception as error:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            self.failed.append(name)
            log.warning("warning: %s was not written (%s)", name, _describe(error))
            return False

    def __exit__(self, kind, *_):
        if kind is None and self.failed:
            raise ReportIncomplete(
                f"{', '.join(self.failed)} could not be written (see the warnings above); all "
                f"other files are in {self.folder}"
            )


def _describe(error: Exception) -> str:
    """Type, place and message of an error in one line, for a bug report."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__} at {place}: {reason_of(error)}"
