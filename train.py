"""Train a model: `python train.py task=vesicle`. All choices: `python train.py --help`."""

from segexp.train import main

if __name__ == "__main__":
    main(script=__file__)
