"""Compares a sweep of four one-thread jobs run one by one and two at once: prints the ratio of the times per round.

    python benchmarks/sweep.py --rounds 3

It takes about four minutes on two idle cores; the expected ratio is 0.7 or less. Whole commands are timed, including
the start of Python and PyTorch in every process. Serial and parallel rounds take turns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from segexp.sweep.pool import cores

TRAIN = Path(__file__).parent.parent / "train.py"


def seconds(jobs: int, steps: int, folder: str) -> float:
    """Return the time of the sweep with this number of jobs at once."""
    command = [sys.executable, str(TRAIN), "-m", "task=vesicle", "trainer=quick", "trainer.max_time=null"]
    command += [f"trainer.steps={steps}", "trainer.validate_every=1000", "seed=0,1,2,3", f"output_dir={folder}/{jobs}"]
    command += ["data.synthetic.train=8", "data.synthetic.val=4", "data.synthetic.size=256", "trainer.precision=fp32"]
    start = time.monotonic()
    launcher = [f"hydra.launcher.jobs={jobs}", "hydra.launcher.threads=1"]
    subprocess.run([*command, *launcher], check=True, capture_output=True)
    return time.monotonic() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="steps of each job")
    arguments = parser.parse_args()
    print(f"{cores()} cores; 4 jobs of {arguments.steps} steps, one thread each", flush=True)
    ratios = []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            order = (1, 2) if number % 2 == 0 else (2, 1)
            times = {jobs: seconds(jobs, arguments.steps, folder) for jobs in order}
        ratios.append(times[2] / times[1])
        print(f"serial {times[1]:.1f} s, two at once {times[2]:.1f} s: {ratios[-1]:.2f}", flush=True)
    print(f"two at once / serial, median of {len(ratios)}: {median(ratios):.2f}")


if __name__ == "__main__":
    main()
