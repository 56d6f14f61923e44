"""Run the scripts of the pages without a page: in node, or in an empty tab of a browser."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np

from tiny_diffusion_jax.web.packing import NONE
from tiny_diffusion_jax.web.render import HERE

OLDEST_NODE = 18
# Read a line [scripts to run, function, argument]; write a line {value} or {error}.
SERVER = """
const vm = require("node:vm");
const answer = ([scripts, code, argument]) => {
  for (const script of scripts) vm.runInThisContext(script);
  return vm.runInThisContext(`(${code})`)(argument);
};
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  let result;
  try { result = { value: answer(JSON.parse(line)) }; }
  catch (error) { result = { error: `${error.stack}` }; }
  console.log(JSON.stringify(result));
});
"""


def find_node() -> str | None:
    """Path of a node that is recent enough for the scripts."""
    path = shutil.which("node")
    if path is None:
        return None
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    number = re.match(r"v(\d+)\.", version)
    return path if number and int(number[1]) >= OLDEST_NODE else None


class Node:
    """A node process that has run the scripts static/`names`, one after the other.

    `evaluate` has the signature of playwright's `Page.evaluate`. NaN and infinite numbers come back
    as None, because JSON has neither.
    """

    def __init__(self, path: str, names):
        self.process = subprocess.Popen([path, "-e", SERVER], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)  # fmt: skip
        self._ask([(HERE / "static" / name).read_text() for name in names], "() => null")

    def evaluate(self, function: str, argument=None):
        """Value of `function`, JavaScript text, called with `argument`."""
        return self._ask([], function, argument)

    def _ask(self, scripts: list[str], function: str, argument=None):
        self.process.stdin.write(json.dumps([scripts, function, argument]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value")

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def open_tab(browser, names):
    """An empty tab of `browser` that has run the scripts static/`names`."""
    page = browser.new_page()
    for name in names:
        page.add_script_tag(content=(HERE / "static" / name).read_text())
    return page


def unpack(packed: dict) -> np.ndarray:
    """Unpack an array in the same way as static/arrays.js."""
    steps = np.frombuffer(base64.b64decode(packed["data"]), "<u2").astype(float)
    steps = np.where(steps == NONE, np.nan, steps).reshape(packed["shape"])
    return np.array(packed["offset"]) + np.array(packed["scale"]) * steps
