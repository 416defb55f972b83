"""``python -m segexp.cli``."""

from segexp.cli import main

main()
