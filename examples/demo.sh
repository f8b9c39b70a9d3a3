#!/usr/bin/env bash
# The main job with the commands a user types: train on one digit, score image files, evaluate.
set -euo pipefail

# Each step is shown with its number and the command that does it.
step=1
say() {
    step=$((step + 1))
    if [ -t 1 ]; then printf '\n\033[1m%s/5 $ %s\033[0m\n' "$step" "$*"; else printf '\n%s/5 $ %s\n' "$step" "$*"; fi
    "$@"
}

out=demo
rm -rf "$out"
mkdir -p "$out"
export ANOMALAE_RUNS="$out/runs"

say anomalae train --normal 0
data=$(anomalae runs --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["data"]["name"])')
say anomalae data export "$data" "$out/images" --split test --limit 20
say anomalae score "$out/images" --heatmaps "$out/heatmaps" --output "$out/scores.csv" --format table
say anomalae evaluate

cat <<EOT

Everything lies in $out/:
  runs/        the trained run, its evaluation and the score of every test image
  images/      held-out digits as image files
  scores.csv   their scores, p-values and verdicts
  heatmaps/    input | reconstruction | where they differ, a picture for each

Next:
  export ANOMALAE_RUNS=$out/runs PATH="\$PWD/.venv/bin:\$PATH"
  anomalae score YOUR_IMAGES/          judge scans or photos of your own
  anomalae train --normal 3            another digit
  anomalae runs                        what there is
  anomalae --help                      everything else (also in cli.md)
EOT
