"""Learn a distribution of points in the plane by diffusion.

  python main.py --mode=list                                  list the configs;
  python main.py --config=configs/mnist_digit.py              train, sample, evaluate;
  python main.py --config=configs/mnist_digit.py:7            another digit;
  python main.py --config=configs/moons.py --config.train.steps=4000 --workdir=runs/short  options;
  python main.py --workdir=runs/moons --mode=sample --config.sample.num_points=100000  more points;
  python main.py --workdir=runs/mixture_dino+moons_history --mode=complete --points=partial.csv
  python main.py --workdir=runs/moons --mode=live             a page that samples in the browser;
  python main.py --workdir=runs/moons --mode=replay           explain a loss that is not finite;
  python main.py --mode=compare --runs=runs/a,runs/b          compare runs, in compare.html;
  python main.py --mode=draw                                  draw your own shapes, in draw.html.

Training again in the same --workdir resumes an interrupted run, and with more --config.train.steps
the run trains longer. --help and docs/options.md describe all options, and
--config.PART.NAME=VALUE sets one of them.
"""

import os
import sys

from tiny_diffusion_jax.cli.main import main, require_utf8

if __name__ == "__main__":
    require_utf8()
    # `sys.exit` would wait for the thread of an abandoned block of steps.
    main(sys.argv, __doc__, leave=os._exit)
