#!/usr/bin/env bash
# Does uard do on this machine's GPU what it does on the CPU, and how fast?
#
#   scripts/gpu/check.sh OUT [PART...]
#
# Parts, all of them without a name: machine self-test memcheck racecheck bench scenes train-cuda
# train-cpu compare exchange. Builds nothing: it runs what `cargo xtask gpu-bundle` built, from
# UARD_BIN or target/gpu-check, and leaves logs and figures in OUT. Every part runs, also after one
# that failed; the table comes last, and the exit code is 1 if a part failed.
#
# What it needs: a driver for CUDA 13, and cuBLAS, cuRAND and NVRTC of CUDA 13, installed or as the
# packages that PyTorch brings.
set -uo pipefail

if [ $# -eq 0 ]; then
    echo "usage: scripts/gpu/check.sh OUT [PART...]" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${UARD_BIN:-$root/target/gpu-check}
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
for program in uard uard-bench; do
    [ -x "$bin/$program" ] || {
        echo "no $bin/$program: build it with \`cargo xtask gpu-bundle\`, or set UARD_BIN" >&2
        exit 2
    }
done
bin=$(cd "$bin" && pwd)
shift
wanted=" $* "
failed=0
: >"$out/table.txt"

# A line of the table: part, result, seconds, what was seen.
row() {
    printf '%-12s %-8s %6s  %s\n' "$1" "$2" "$3" "$4" >>"$out/table.txt"
}

# part NAME COMMAND...: runs it with its log in OUT/NAME.log, and writes its line.
part() {
    local name=$1 begun=$SECONDS code
    shift
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$out/$name.log"
    code=${PIPESTATUS[0]}
    if [ "$code" -eq 0 ]; then
        row "$name" passed "$((SECONDS - begun))" ""
    else
        failed=1
        row "$name" FAILED "$((SECONDS - begun))" "exit code $code, $(reason "$name")"
    fi
}

# skip NAME REASON: what cannot run here is said, and fails nothing.
skip() {
    [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]] || return 0
    printf '\n== %s: skipped: %s\n' "$1" "$2"
    row "$1" skipped - "$2"
}

# The first line of a log that speaks of an error, or else its last line.
reason() {
    { grep -m 1 -iE 'error|panicked|not found|too far|does not say|not supported' "$out/$1.log" ||
        grep -v '^[[:space:]]*$' "$out/$1.log" | tail -n 1; } | cut -c1-160
}

# Folders of CUDA's libraries: pip's packages beside this python3, and an installed toolkit.
library_folders() {
    if command -v python3 >/dev/null; then
        python3 - <<'PYTHON'
import pathlib

try:
    import nvidia
except ImportError:
    pass
else:
    for folder in nvidia.__path__:
        for library in sorted(pathlib.Path(folder).glob("*/lib")):
            print(library)
PYTHON
    fi
    toolkits | sed 's:$:/lib64:'
}

# Installed toolkits, those that were named first.
toolkits() {
    local home
    for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda-13* /usr/local/cuda; do
        [ -n "$home" ] && [ -d "$home/lib64" ] && echo "$home"
    done
}

machine() {
    date -u +%FT%TZ
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader ||
        return 1
    nproc
    "$bin/uard" --version
    echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
    ! ldd "$bin/uard" | grep 'not found'
}

bench() {
    local python
    python=$(command -v python3)
    if [ -n "$python" ] && "$python" -c \
        'import numpy, torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; then
        export UARD_BENCH_PYTHON=$python
    else
        echo "without PyTorch: python3 has no torch with CUDA, or no numpy"
    fi
    "$bin/uard-bench" --suite gpu --allow-noise --json "$out/bench.json" --record "$out/bench.csv"
}

# train DEVICE: two epochs of the embedded data set.
train() {
    rm -rf "$out/on-$1"
    "$bin/uard" train --config scenes --data "$out/scenes" --device "$1" --run "$out/on-$1" \
        --set training.epochs=2
}

# step RUN FIELD: a number of the first step; epoch RUN FIELD: of the last epoch.
step() {
    grep -m 1 '"event":"step"' "$out/$1/log.jsonl" | grep -o "\"$2\":[^,}]*" | head -n 1 | cut -d: -f2
}
epoch() {
    grep '"event":"epoch"' "$out/$1/log.jsonl" | tail -n 1 | grep -o "\"$2\":[^,}]*" | head -n 1 |
        cut -d: -f2
}

# near NAME A B SHARE FLOOR: within a share of the second, or within the floor.
near() {
    awk -v name="$1" -v a="$2" -v b="$3" -v share="$4" -v floor="$5" 'BEGIN {
        if (a == "" || b == "") { print name ": not found in log.jsonl"; exit 1 }
        apart = a - b; if (apart < 0) apart = -apart
        allowed = share * (b < 0 ? -b : b); if (allowed < floor) allowed = floor
        good = apart <= allowed
        printf "%s: cuda %s, cpu %s, apart %.3g, allowed %.3g%s\n", name, a, b, apart, allowed,
            good ? "" : "  TOO FAR"
        exit !good
    }'
}

# The first step is the same arithmetic in another order of sums; what follows drifts apart.
compare() {
    local code=0 run
    for run in on-cuda on-cpu; do
        [ -f "$out/$run/metrics.json" ] || {
            echo "error: no metrics.json of the run $run: it failed or was not asked for"
            return 1
        }
    done
    grep -q '"device": *"cuda"' "$out/on-cuda/metrics.json" || {
        echo "metrics.json of the run on cuda does not say so"
        code=1
    }
    near "loss of step 1" "$(step on-cuda loss)" "$(step on-cpu loss)" 1e-4 0 || code=1
    near "gradient norm of step 1" \
        "$(step on-cuda gradient_norm)" "$(step on-cpu gradient_norm)" 1e-3 0 || code=1
    near "threshold at the end" \
        "$(epoch on-cuda threshold)" "$(epoch on-cpu threshold)" 0 0.01 || code=1
    near "dev rsum at the end" "$(epoch on-cuda rsum)" "$(epoch on-cpu rsum)" 0.05 0 || code=1
    printf 'seconds of the last epoch: cuda %s, cpu %s\n' \
        "$(epoch on-cuda seconds)" "$(epoch on-cpu seconds)"
    return "$code"
}

# The weights of one device, judged on the other.
exchange() {
    "$bin/uard" evaluate --checkpoint "$out/on-cuda" --data "$out/scenes" --split dev \
        --device cpu &&
        "$bin/uard" evaluate --checkpoint "$out/on-cpu" --data "$out/scenes" --split dev \
            --device cuda
}

folders=$(library_folders | paste -sd: -)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH${folders:+:}}$folders"

tools=$(toolkits | sed 's:.*:&/bin\:&/compute-sanitizer:' | paste -sd: -)
export PATH="$PATH${tools:+:$tools}"

part machine machine
part self-test "$bin/uard" self-test --device cuda --json "$out/self-test.json"
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$bin/uard" self-test --device cuda --quick
    done
else
    for tool in memcheck racecheck; do
        skip "$tool" "compute-sanitizer is not on PATH"
    done
fi
part bench bench
part scenes "$bin/uard" data scenes --out "$out/scenes"
part train-cuda train cuda
part train-cpu train cpu
part compare compare
part exchange exchange

printf '\n%-12s %-8s %6s  %s\n' part result sec "what was seen"
cat "$out/table.txt"
if grep -q '^compare ' "$out/table.txt"; then
    printf '\n'
    cat "$out/compare.log"
fi
exit "$failed"
