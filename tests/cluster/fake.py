"""A SLURM of one file: sbatch, srun, scontrol, sacct, scancel and squeue as far as submitit and a script use them.

``install(folder)`` writes them into ``folder/bin``. Jobs run at once, in the background; a job whose requeue is asked
for, or whose process was killed by signal 9 (a node that failed), starts again with ``SLURM_RESTART_COUNT`` one higher.
What happens stands in ``folder/jobs/*.log``, a line an event.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scontrol", "sacct", "scancel", "squeue")


def install(folder: Path) -> dict[str, str]:
    """The environment in which this SLURM is found."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for name in COMMANDS:
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {__file__} {name} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(folder / "jobs")}


def place() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def note(job: str, event: str) -> None:
    with (place() / f"{job}.log").open("a") as file:
        file.write(event + "\n")


def options(script: Path) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script.read_text(), re.MULTILINE)
    return {name: (shlex.split(value) or [""])[0] for name, value in found}


def sbatch(arguments: list[str]) -> int:
    words = [word for word in arguments if not word.startswith("--")]
    script = Path(words[0])
    number = 100 + len(list(place().glob("*.sbatch")))
    kept = place() / f"{number}.sbatch"  # submitit moves its file once it knows the number
    kept.write_text(script.read_text())
    array = options(kept).get("array")
    tasks = [""] if array is None else [f"_{index}" for index in range(int(array.split("%")[0].split("-")[1]) + 1)]
    for task in tasks:
        note(f"{number}{task}", "PENDING")
        subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, "node", str(kept), f"{number}{task}", *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(place() / "node.err").open("a"),
            start_new_session=True,
        )
    print(f"Submitted batch job {number}")
    return 0


def node(arguments: list[str]) -> int:
    script, job, *words = arguments
    main, _, task = job.partition("_")
    output = options(Path(script)).get("output", f"{place()}/%j.out")
    output = output.replace("%j", job).replace("%A", main).replace("%a", task)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    time.sleep(0.5)
    for count in range(10):
        more = {"SLURM_JOB_ID": job, "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_RESTART_COUNT": str(count)}
        if task:
            more |= {"SLURM_ARRAY_JOB_ID": main, "SLURM_ARRAY_TASK_ID": task, "SLURM_JOB_ID": f"{int(main) + 1000}"}
        if not count:
            del more["SLURM_RESTART_COUNT"]
        note(job, f"RUNNING {count}")
        with open(output, "a") as file:
            command = ["bash", script, *words]
            code = subprocess.run(command, env=os.environ | more, stdout=file, stderr=file, check=False).returncode
        asked = place() / f"{job}.requeue"
        if asked.exists() or code == 137:
            note(job, "REQUEUED" if asked.exists() else "NODE_FAIL")
            asked.unlink(missing_ok=True)
            continue
        note(job, "COMPLETED" if code == 0 else f"FAILED {code}")
        return 0
    return 1


def srun(arguments: list[str]) -> int:
    names = {"%j": "SLURM_JOB_ID", "%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID", "%t": "SLURM_PROCID"}
    files = {}
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            path = arguments.pop(0)
            for code, name in names.items():
                path = path.replace(code, os.environ.get(name, ""))
            files[option] = open(path, "a")  # noqa: SIM115
    process = subprocess.Popen(arguments, stdout=files.get("--output"), stderr=files.get("--error"))
    code = process.wait()
    return 128 - code if code < 0 else code


def scontrol(arguments: list[str]) -> int:
    assert arguments[0] == "requeue", arguments
    (place() / f"{arguments[1]}.requeue").touch()
    return 0


def sacct(arguments: list[str]) -> int:
    print("JobID|State|NodeList")
    for path in sorted(place().glob("*.log")):
        state = path.read_text().split("\n")[-2].split()[0]
        print(f"{path.stem}|{'REQUEUED' if state == 'NODE_FAIL' else state}|here")
    return 0


squeue = sacct


def scancel(arguments: list[str]) -> int:
    raise NotImplementedError(arguments)


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2:]))
