"""segexp train, with the options of ``conf/`` added: python train.py experiment=microvilli data.root=DATA."""

import sys
from pathlib import Path

from segexp.train import main

if __name__ == "__main__":
    main([f"--config-dir={Path(__file__).resolve().parent / 'conf'}", *sys.argv[1:]])
