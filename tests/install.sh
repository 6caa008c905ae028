#!/bin/sh
# install.sh PYTHON EXTRAS CONSTRAINTS LOG: an editable install that says how far it is, and shows
# its log only when it fails.
set -eu
python=$1 extras=$2 constraints=$3 log=$4
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
: > "$log"
(
  "$python" -m pip install --upgrade "pip>=24" &&
    "$python" -m pip install ${constraints:+--constraint "$constraints"} --editable ".[$extras]"
) >> "$log" 2>&1 &
job=$!
start=$(date +%s)
while kill -0 "$job" 2>/dev/null; do
  sleep 1
  spent=$(($(date +%s) - start))
  if [ $((spent % 15)) -eq 0 ] && [ "$spent" -gt 0 ]; then
    done_=$(grep -c '^Collecting\|^Requirement already' "$log" || true)
    echo "  ${spent} s, $done_ packages looked at; torch and its friends are 1.7 GB"
  fi
done
if ! wait "$job"; then
  tail -n 25 "$log" >&2
  echo "install.sh: pip failed; the whole log is $log" >&2
  exit 1
fi
