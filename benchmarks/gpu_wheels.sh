#!/bin/sh
# Fill a folder with the packages that a bare GPU machine lacks: it has Python 3.12 and PyTorch 2.11 and no network.
#
#     sh benchmarks/gpu_wheels.sh [FOLDER]        here, with a network; FOLDER is .wheels, which git ignores
#
# and there, from the root of this checkout, with that folder beside it:
#
#     python3 -m pip install -q --no-index --no-deps --target /tmp/site .wheels/*.whl
#     PYTHONPATH=/tmp/site:src python3 -m benchmarks.gpu --minutes 7 --out DIR
#
# The versions are those of constraints.txt. numpy, scipy, opencv-python-headless, tifffile, scikit-image, pandas, numba,
# matplotlib, tensorboard, rich, typer, jinja2, filelock and pytest are expected there.
set -eu
folder=${1:-.wheels}
python=${PYTHON:-python3}
most=64 # MiB
mkdir -p "$folder"
rm -f "$folder"/*.whl # two versions of one package stop the install
pinned() { grep -i "^$1==" constraints.txt | head -n 1; }
wanted="antlr4-python3-runtime==4.9.3 kornia-rs openpyxl et-xmlfile"
for name in hydra-core omegaconf kornia imagecodecs skan roifile cmaes filelock platformdirs; do
    wanted="$wanted $(pinned "$name")"
done
for one in $wanted; do
    case $one in
    antlr4*) # a source package of plain Python
        "$python" -m pip wheel -q --no-deps -w "$folder" "$one"
        ;;
    *)
        "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
            --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$folder" "$one"
        ;;
    esac
done
size=$(du -sm "$folder" | cut -f 1)
echo "$folder: $(ls "$folder" | wc -l) wheels, $size MiB"
if [ "$size" -gt "$most" ]; then
    echo "error: more than $most MiB" >&2
    exit 1
fi
