"""Train a model: `python train.py task=vesicle`. All choices: `python train.py --help`.

Bash completes its settings after `eval "$(python train.py -sc install=bash)"`, where it finds @hydra.main in this text.
"""

from segexp.train import main

if __name__ == "__main__":
    main(script=__file__)
