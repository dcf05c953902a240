#!/usr/bin/env bash
# From a DataParallel RGB checkpoint with shift to a plain flow model, and the other way round. Works in a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$(dirname "$0")"/*.py "$(dirname "$0")"/*.yaml "$work"
cd "$work"

show() { # a command, what it prints, and its exit status unless that is 0
    echo "\$ $1"
    eval "$1" 2>&1 || echo "(exit $?)"
    echo
}

python make_checkpoint.py rgb rgb.pth
python make_checkpoint.py plain plain.pth

show "ckpt-surgeon diff rgb.pth tsm:flow --stat"
show "ckpt-surgeon remap rgb.pth --rules rgb_to_flow.yaml --set new_dataset=true --set modality=Flow --target tsm:flow -o flow.pth"
show "python check_mean.py rgb.pth flow.pth"
show "ckpt-surgeon verify flow.pth tsm:flow --device cpu --allow-missing 'new_fc.**'"
show "ckpt-surgeon verify flow.pth tsm:flow --device cpu"

show "ckpt-surgeon remap plain.pth --rules align.yaml --target tsm:rgb -o shifted.pth"
show "ckpt-surgeon verify shifted.pth tsm:rgb --device cpu"
