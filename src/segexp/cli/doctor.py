"""`segexp doctor`: versions, hardware and a self-test of this installation."""

from pathlib import Path
from typing import Annotated, Any

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, to paste into a bug report.")] = False,
) -> None:
    """Show versions, device, memory and disk, and try each step from image to mask; exit code 1 if one fails.

    Example: segexp doctor --json > doctor.json
    """
    import json

    from segexp.doctor import installation, machine, self_test

    facts = installation() | machine(Path.cwd())
    steps = []
    if not as_json:
        _show(facts)
    for name, seconds, fault in self_test():
        steps.append({"step": name, "seconds": round(seconds, 3), "fault": fault})
        if not as_json:
            print(f"  {name:<22}{seconds:6.2f} s  {fault or 'works'}", flush=True)
    works = all(step["fault"] is None for step in steps)
    if as_json:
        print(json.dumps(facts | {"self_test": steps, "works": works}, indent=2))
    else:
        print(
            "segexp works here"
            if works
            else ("the self-test of segexp failed: please send this output with your bug report")
        )
    if not works:
        raise typer.Exit(1)


def _show(facts: dict[str, Any]) -> None:
    from segexp.doctor import DEVELOPMENT

    gib = 2**30
    print("versions:  ", ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    print("package:   ", facts["package"], f"(Python: {facts['executable']})")
    print("platform:  ", facts["platform"])
    print("device:    ", f"{facts['device']} ({facts['device_reason']})")
    print("precision: ", f"{facts['precision']} ({facts['precision_reason']})")
    shared = "" if facts["shared_memory"] is None else f"; /dev/shm {facts['shared_memory'] / gib:.1f} GiB"
    print("memory:    ", f"{facts['memory_free'] / gib:.1f} GiB free{shared}")
    print("disk:      ", f"{facts['disk_free'] / gib:.1f} GiB free in {facts['disk_folder']}")
    for extra, missing in facts["extras"].items():
        if extra in DEVELOPMENT:
            continue
        state = (
            f"not installed: pip install 'segexp[{extra}]' ({', '.join(missing)} missing)" if missing else "installed"
        )
        print("extra:     ", f"{extra}: {state}")
    print("self-test:")
