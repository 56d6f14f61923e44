"""Learns a distribution of points in the plane by diffusion.

  python main.py --mode=list                                  what there is to run
  python main.py --config=configs/mnist_digit.py              train, sample, evaluate
  python main.py --config=configs/mnist_digit.py:7            another digit
  python main.py --config=configs/moons.py --config.train.steps=4000 --workdir=runs/short
  python main.py --workdir=runs/moons --mode=sample --config.sample.num_points=100000
  python main.py --workdir=runs/mixture_dino+moons_history --mode=complete --points=partial.csv
  python main.py --workdir=runs/moons --mode=live             a page that samples in the browser
  python main.py --workdir=runs/moons --mode=replay           why a loss was not finite
  python main.py --mode=compare --runs=runs/a,runs/b          side by side, compare.html
  python main.py --mode=draw                                  draw.html: shapes of your own

Training again in the same --workdir resumes where it stopped, and with more --config.train.steps
it trains longer. Every option is described in
tiny_diffusion_jax/config.py and can be set as --config.PART.FIELD=VALUE.
"""

import os
import sys

from tiny_diffusion_jax.run.cli import main, require_utf8

if __name__ == "__main__":
    require_utf8()
    # By sys.exit it would wait for a block of steps that was abandoned.
    main(sys.argv, __doc__, leave=os._exit)
