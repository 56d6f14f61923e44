"""Replace the module `subprocess` in benchmarks that start Python, and run the code here.

A separate process would spend seconds on imports and compilations that this process has done.
"""

import contextlib
import importlib
import io
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, CalledProcessError, CompletedProcess  # noqa: F401

import command_line
import jax


def run(words, *, cwd=None, check=False, stdout=None, stderr=None, encoding=None,
        capture_output=False):  # fmt: skip
    """Run `python main.py ARGUMENTS`, `python -c CODE ARGUMENTS` or the file of a benchmark."""
    interpreter, program, *arguments = words
    assert interpreter == sys.executable
    out, code = io.StringIO(), 0
    with contextlib.chdir(cwd or "."), contextlib.redirect_stdout(out):
        assert program == "-c" or Path(program).exists()
        if program == "main.py":
            code, _, log = command_line.run(*arguments)
            print(log if code else "", file=sys.stderr, end="")
        elif program == "-c":
            with as_it_was(["-c", *arguments[1:]]):
                exec(arguments[0], {"__name__": "__main__"})
        else:
            importlib.import_module(Path(program).stem).main(arguments)
    if stdout is None and not capture_output:
        print(out.getvalue(), end="")
    if check and code:
        raise CalledProcessError(code, words, out.getvalue())
    return CompletedProcess(words, code, out.getvalue())


@contextlib.contextmanager
def as_it_was(argv):
    """Set `sys.argv` in the block, and restore the global state that a program may change."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = sys.argv, sys.path[:], [getattr(jax.config, name) for name in names]
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv, sys.path[:], values = before
        for name, value in zip(names, values, strict=True):
            jax.config.update(name, value)
