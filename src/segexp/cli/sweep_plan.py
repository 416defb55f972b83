"""`segexp sweep-plan`: time and disk of a sweep before it starts."""

from typing import TYPE_CHECKING, Annotated

import typer

from segexp.cli.overrides import ConfigDir

if TYPE_CHECKING:
    from segexp.sweep.plan import SweepPlan


def sweep_plan(
    context: typer.Context,
    steps: Annotated[int, typer.Option(min=1, help="Steps to measure for each kind of job.")] = 4,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of jobs that run at a time; default: that of the launcher.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Estimate the time and disk space of a sweep from a few steps of each kind of job. Nothing is kept.

    Takes the overrides of the sweep.

    Example: segexp sweep-plan task=vesicle trainer.lr=1e-3,3e-4 --jobs 2
    """
    from segexp.sweep.plan import plan_sweep

    print_plan(plan_sweep(context.args, steps, jobs, config_dir))


def print_plan(plan: "SweepPlan") -> None:
    """Print the cost of each kind of job, and the total."""
    import shutil

    import torch
    from rich.console import Console
    from rich.table import Table

    from segexp.terminal import print_table
    from segexp.training.loggers.run_log import clock

    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, header_style="bold")
    for name in ("jobs", "a step", "a validation", "a job", "its disk"):
        table.add_column(name, justify="right")
    table.add_column("with", overflow="fold")
    for kind in plan.kinds:
        cost = kind.cost
        table.add_row(
            f"{kind.jobs:.3g}",
            f"{cost.step:.3g} s",
            f"{cost.validation:.3g} s",
            clock(kind.seconds),
            f"{cost.disk / 1e6:.1f} MB",
            " ".join(kind.overrides),
        )
    print_table(console, table)
    console.print(
        f"{plan.jobs:.0f} jobs, {plan.at_once} at a time: about {clock(plan.seconds)} (h:mm:ss), "
        f"{plan.disk / 1e6:.0f} MB in all",
        markup=False,
    )
    free = shutil.disk_usage(".").free
    if plan.disk > free:
        console.print(f"warning: only {free / 1e6:.0f} MB are free here", markup=False)
    if plan.at_once > 1 and not torch.cuda.is_available():
        console.print(
            ("measured one job at a time; jobs that run at the same time on one machine slow each other down"),
            markup=False,
        )
