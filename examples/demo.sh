#!/usr/bin/env bash
# The main job with the commands a user types: train on one digit, score image files, evaluate.
set -euo pipefail

# Each step is shown with its number and the command that does it, a long one on several lines that can be copied.
step=1
bold='' plain=''
[ -t 1 ] && bold=$'\033[1m' plain=$'\033[0m'
say() {
    step=$((step + 1))
    local command
    command=$(fold -s -w 52 <<<"$*" | sed -e '$!s/$/\\/' -e '2,$s/^/      /')
    printf '\n%s%s/5 $ %s%s\n' "$bold" "$step" "$command" "$plain"
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
