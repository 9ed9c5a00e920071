#!/usr/bin/env bash
# Does uard do on this machine's GPU what it does on the CPU, and how fast?
#
#   scripts/gpu/check.sh OUT [PART...]
#
# Parts, all of them without a name, in this order:
#
#   machine     GPU, driver, and every library found
#   refusals    no GPU, and no memory left: one sentence, exit code 1, nothing half written
#   self-test   every kernel against the composed form and against the CPU
#   scenes      draws the embedded data set
#   train-cuda  trains on it on the GPU, while nvidia-smi is asked for its memory
#   train-cpu   the same on the CPU
#   compare     first step, threshold and rsum of both
#   exchange    each checkpoint on both devices: the same recall
#   resume      stopped and resumed, the checkpoint has the bytes of one that never stopped
#   memory      flat after the first third of train-cuda
#   bench       matching, a training step and epochs of Flickr30K's size, beside PyTorch
#   memcheck    the quick self-test under compute-sanitizer
#   racecheck   the smallest self-test likewise
#
# Builds nothing: it runs what `cargo xtask gpu-bundle` built, from UARD_BIN or target/gpu-check, and
# leaves a log a part, table.txt, check.json, self-test.json, bench.json and the runs in OUT. A part
# that fails stops none of the others; the table comes last, and the exit code is 1 if a part failed.
# No part runs longer than its limit, and all together no longer than UARD_CHECK_SECONDS (570); what
# then is left is skipped by name, for another call.
#
# What it needs: a driver for CUDA 13, and cuBLAS, cuRAND and NVRTC of CUDA 13, installed or as the
# packages that PyTorch brings.
set -uo pipefail

known=(machine refusals self-test scenes train-cuda train-cpu compare exchange resume memory bench
    memcheck racecheck)

if [ $# -eq 0 ]; then
    echo "usage: scripts/gpu/check.sh OUT [PART...]" >&2
    echo "parts: ${known[*]}" >&2
    exit 2
fi
for asked in "${@:2}"; do
    [[ " ${known[*]} " == *" $asked "* ]] || {
        echo "no part is called $asked; there are: ${known[*]}" >&2
        exit 2
    }
done
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
end=$((SECONDS + ${UARD_CHECK_SECONDS:-570}))
deadline=$end
: >"$out/table.txt"
: >"$out/entries.json"

# A line of the table, and an entry of check.json: part, result, seconds, what was seen.
row() {
    printf '%-12s %-8s %6s  %s\n' "$1" "$2" "$3" "$4" >>"$out/table.txt"
    printf '{"part":"%s","result":"%s","seconds":%s,"seen":"%s"}\n' "$1" "$2" "${3/-/null}" \
        "$(printf '%s' "$4" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')" >>"$out/entries.json"
}

is_wanted() {
    [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]]
}

# part NAME LIMIT COMMAND...: runs it with its log in OUT/NAME.log, and writes its line. A command
# that ends well may leave a note in OUT/NAME.note.
part() {
    local name=$1 limit=$2 begun=$SECONDS code note
    shift 2
    is_wanted "$name" || return 0
    if [ $((end - SECONDS)) -lt 5 ]; then
        skip "$name" "no time was left: ask for it alone"
        return 0
    fi
    deadline=$((SECONDS + limit < end ? SECONDS + limit : end))
    limit=$((deadline - SECONDS))
    rm -f "$out/$name.note"
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$out/$name.log"
    code=${PIPESTATUS[0]}
    note=$(cat "$out/$name.note" 2>/dev/null)
    rm -f "$out/$name.note"
    if [ "$code" -eq 0 ]; then
        row "$name" passed "$((SECONDS - begun))" "$note"
    else
        failed=1
        case $code in
        124 | 137) note="stopped after $limit s${note:+, $note}" ;;
        *) note="exit code $code, ${note:+$note, }$(reason "$name")" ;;
        esac
        row "$name" FAILED "$((SECONDS - begun))" "$note"
    fi
}

# within COMMAND...: no longer than what is left to the part.
within() {
    local left=$((deadline - SECONDS))
    timeout --kill-after=10 "$((left > 0 ? left : 1))" "$@"
}

# skip NAME REASON: what cannot run here is said, and fails nothing.
skip() {
    is_wanted "$1" || return 0
    printf '\n== %s: skipped: %s\n' "$1" "$2"
    row "$1" skipped - "$2"
}

# watched TOOL LIMIT EXTENT: the self-test of that extent under a tool of compute-sanitizer.
watched() {
    if command -v compute-sanitizer >/dev/null; then
        part "$1" "$2" within compute-sanitizer --tool "$1" --error-exitcode 9 \
            "$bin/uard" self-test --device cuda "$3"
    else
        skip "$1" "compute-sanitizer is not on PATH"
    fi
}

# What a log says is wrong, or its first line that speaks of an error, or else its last line.
reason() {
    { grep -m 1 -E 'wrong: |TOO FAR|^FAILED' "$out/$1.log" ||
        grep -m 1 -iE 'error|panicked|not found|differ|does not say|not supported' "$out/$1.log" ||
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

# refused WHAT NEEDLE COMMAND...: exit code 1, one error, which is the last line and names why.
refused() {
    local what=$1 needle=$2 said=$out/refusal.txt code
    shift 2
    within "$@" 2>"$said" >/dev/null
    code=$?
    cat "$said"
    if [ "$code" -ne 1 ]; then
        echo "$what: wrong: exit code $code instead of 1"
    elif [ "$(grep -c '^error: ' "$said")" -ne 1 ] || ! tail -n 1 "$said" | grep -q '^error: '; then
        echo "$what: wrong: expected one line of error, the last"
    elif ! grep -q "$needle" "$said"; then
        echo "$what: wrong: the sentence does not speak of $needle"
    else
        echo "$what: refused as it should be"
        return 0
    fi
    return 1
}

# floats FILE IMAGES WIDTH: an array [IMAGES, 36, WIDTH] of zeros, which takes no room on the disk.
floats() {
    {
        printf '\x93NUMPY\x01\x00\x76\x00'
        printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($2, 36, $3), }"
    } >"$1"
    truncate -s "$((128 + $2 * 36 * $3 * 4))" "$1"
}

# large: a data set whose relevance of 20,000 captions would take 345 GB, and no more features than
# fit easily.
large() {
    mkdir -p "$out/large"
    floats "$out/large/train_ims.npy" 10000 64
    floats "$out/large/dev_ims.npy" 10 64
    yes 'a small brown dog runs after a red ball on the grass' | head -n 20000 \
        >"$out/large/train_caps.txt"
    head -n 20 "$out/large/train_caps.txt" >"$out/large/dev_caps.txt"
}

refusals() {
    local code=0 said=$out/refusal.txt
    rm -rf "$out/refused"
    large
    CUDA_VISIBLE_DEVICES='' refused "train without a GPU" cuda "$bin/uard" train \
        --config flickr30k --data "$out/large" --device cuda --run "$out/refused/no-gpu" || code=1
    [ ! -e "$out/refused/no-gpu" ] || {
        echo "train without a GPU: wrong: it left something in its run directory"
        code=1
    }
    CUDA_VISIBLE_DEVICES='' within "$bin/uard" self-test --device auto --quick 2>"$said" || code=1
    cat "$said"
    grep -q '^device cpu: ' "$said" || {
        echo "self-test without a GPU: wrong: it does not say that it uses the CPU"
        code=1
    }
    refused "a batch of 20,000" "too little memory" "$bin/uard" train --config flickr30k \
        --data "$out/large" --device cuda --run "$out/refused/memory" \
        --set training.batch=20000 || code=1
    if find "$out/refused" -name '.unfinished*' -o -name 'step-*' -o -name metrics.json 2>/dev/null |
        grep .; then
        echo "a batch of 20,000: wrong: it left part of a checkpoint or a result"
        code=1
    fi
    rm -rf "$out/large"
    return "$code"
}

bench() {
    local python code met all missing
    python=$(command -v python3)
    if [ -n "$python" ] && "$python" -c \
        'import numpy, torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; then
        export UARD_BENCH_PYTHON=$python
    else
        echo "without PyTorch: python3 has no torch with CUDA, or no numpy"
    fi
    within "$bin/uard-bench" --suite gpu --allow-noise --rounds 3 --json "$out/bench.json" \
        --record "$out/bench.csv" | tee "$out/bench.txt"
    code=${PIPESTATUS[0]}
    all=$(requirements | wc -l)
    met=$(requirements | grep -c '  met$')
    missing=$(grep -c '^missing: ' "$out/bench.txt")
    [ "$all" -eq 0 ] || echo "$met of $all met, $missing missing" >"$out/bench.note"
    return "$code"
}

# What the bench required, line by line.
requirements() {
    grep -E ': must .*  (not )?met$' "$out/bench.txt"
}

# train DEVICE: the embedded data set, as it is meant to be trained on.
train() {
    rm -rf "$out/on-$1"
    within "$bin/uard" train --config scenes --data "$out/scenes" --device "$1" --run "$out/on-$1"
}

# The same, with the GPU's memory in MiB four times a second in OUT/memory.txt.
train_watched() {
    local watcher='' code
    rm -f "$out/memory.txt"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=250 \
            >"$out/memory.txt" 2>/dev/null &
        watcher=$!
    fi
    train cuda
    code=$?
    if [ -n "$watcher" ]; then
        kill "$watcher" 2>/dev/null
        wait "$watcher" 2>/dev/null
    fi
    return "$code"
}

# Memory may settle in the first third; what the last third holds, the middle one held too, but for
# 64 MiB or 1 %.
memory() {
    [ -s "$out/memory.txt" ] || {
        echo "error: no memory.txt of train-cuda: it failed or was not asked for"
        return 1
    }
    awk -v note="$out/memory.note" '
        /^[0-9]+$/ { used[++count] = $1 }
        END {
            if (count < 12) { printf "error: only %d samples, 12 are needed\n", count; exit 1 }
            third = int(count / 3)
            for (at = third + 1; at <= count; at++)
                if (at <= 2 * third) { if (used[at] > middle) middle = used[at] }
                else if (used[at] > last) last = used[at]
            allowed = middle * 0.01; if (allowed < 64) allowed = 64
            good = last - middle <= allowed
            line = sprintf("at most %d MiB, then %d MiB, in %d samples", middle, last, count)
            print line (good ? "" : "  TOO FAR")
            print line >note
            exit !good
        }' "$out/memory.txt"
}

# step RUN FIELD: a number of the first step; epoch RUN FIELD: of the last epoch.
step() {
    grep -m 1 '"event":"step"' "$out/$1/log.jsonl" | number "$2"
}
epoch() {
    grep '"event":"epoch"' "$out/$1/log.jsonl" | tail -n 1 | number "$2"
}

# number NAME: the first number of that name in what is read.
number() {
    grep -oE "\"$1\": *[-+.0-9eE]+" | head -n 1 | sed 's/.*: *//'
}

# near NAME A B SHARE FLOOR: within a share of the second, or within the floor.
near() {
    awk -v name="$1" -v a="$2" -v b="$3" -v share="$4" -v floor="$5" 'BEGIN {
        if (a == "" || b == "") { print name ": error: one of both is missing"; exit 1 }
        apart = a - b; if (apart < 0) apart = -apart
        allowed = share * (b < 0 ? -b : b); if (allowed < floor) allowed = floor
        good = apart <= allowed
        printf "%s: cuda %s, cpu %s, apart %.3g, allowed %.3g%s\n", name, a, b, apart, allowed,
            good ? "" : "  TOO FAR"
        exit !good
    }'
}

# both_ran: the runs that compare and exchange need.
both_ran() {
    local run
    for run in on-cuda on-cpu; do
        [ -f "$out/$run/metrics.json" ] || {
            echo "error: no metrics.json of the run $run: it failed or was not asked for"
            return 1
        }
    done
}

# The first step is the same arithmetic in another order of sums; what follows drifts apart.
compare() {
    local code=0
    both_ran || return 1
    grep -q '"device": *"cuda"' "$out/on-cuda/metrics.json" || {
        echo "metrics.json of the run on cuda does not say so"
        code=1
    }
    near "loss of step 1" "$(step on-cuda loss)" "$(step on-cpu loss)" 1e-4 0 || code=1
    near "gradient norm of step 1" \
        "$(step on-cuda gradient_norm)" "$(step on-cpu gradient_norm)" 1e-3 0 || code=1
    near "threshold at the end" \
        "$(epoch on-cuda threshold)" "$(epoch on-cpu threshold)" 0 0.01 || code=1
    near "dev rsum at the end" "$(epoch on-cuda rsum)" "$(epoch on-cpu rsum)" 0 2 || code=1
    printf 'seconds of the last epoch: cuda %s, cpu %s\n' \
        "$(epoch on-cuda seconds)" "$(epoch on-cpu seconds)"
    return "$code"
}

# judged RUN NAME ARGUMENT...: OUT/RUN-NAME.json and .npy of the run's best checkpoint on dev.
judged() {
    local name=$out/$1-$2 run=$out/$1
    shift 2
    within "$bin/uard" evaluate --checkpoint "$run" --data "$out/scenes" --split dev --format json \
        --similarities "$name.npy" "$@" >"$name.json"
}

# numbers FILE: those of an array of f32, one a line.
numbers() {
    od -A n -t f4 -v -w4 -j 128 "$1"
}

# alike NAME A B: as good as all similarities within 2e-3; a cell on the threshold may fall either way.
alike() {
    paste <(numbers "$2") <(numbers "$3") | awk -v name="$1" '
        { apart = $1 - $2; if (apart < 0) apart = -apart; pairs++
          if (!(apart <= 2e-3)) far++; if (apart > largest) largest = apart }
        END {
            good = pairs > 0 && far <= 0.01 * pairs
            printf "%s: %d of %d pairs more than 2e-3 apart, the largest %.2g%s\n", name, far, pairs,
                largest, good ? "" : "  TOO FAR"
            exit !good
        }'
}

# The weights of one device, judged on both: in f32 the recall is the same but for an image or a few
# captions whose candidates tie, and with our kernels, in f16, nearly.
exchange() {
    local code=0 run
    both_ran || return 1
    for run in on-cuda on-cpu; do
        if judged "$run" cpu --device cpu && judged "$run" f32 --device cuda --kernel tensor &&
            judged "$run" f16 --device cuda; then
            near "rsum of the checkpoint $run, both in f32" "$(number rsum <"$out/$run-f32.json")" \
                "$(number rsum <"$out/$run-cpu.json")" 0 0.5 || code=1
            alike "similarities of $run, both in f32" "$out/$run-f32.npy" "$out/$run-cpu.npy" ||
                code=1
            near "rsum of the checkpoint $run, f16 and f32" "$(number rsum <"$out/$run-f16.json")" \
                "$(number rsum <"$out/$run-cpu.json")" 0 1 || code=1
        else
            code=1
        fi
    done
    return "$code"
}

# shorter RUN ARGUMENT...: makes `command` a run of two epochs, enough to be stopped in. As one
# command, so that what asks `timeout` to end asks the program.
shorter() {
    local run=$out/$1 left=$((deadline - SECONDS))
    shift
    command=(timeout --kill-after=20 "$((left > 0 ? left : 1))" "$bin/uard" train --config scenes
        --data "$out/scenes" --device cuda --run "$run" --set training.epochs=2 "$@")
}

# The folder of a run's newest checkpoint.
newest() {
    echo "$out/$1/checkpoints/$(cat "$out/$1/checkpoints/latest")"
}

# Steps that a run has taken.
steps() {
    cat "$out/$1/log.jsonl" 2>/dev/null | grep -c '"event":"step"'
}

resume() {
    local pid code command
    rm -rf "$out/whole" "$out/again" "$out/stopped"
    shorter whole
    "${command[@]}" || return 1
    shorter stopped
    "${command[@]}" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && [ "$(steps stopped)" -lt 30 ]; do
        sleep 0.05
    done
    kill -TERM "$pid" 2>/dev/null
    wait "$pid"
    code=$?
    if [ "$code" -ne 130 ]; then
        echo "error: the run that was to be stopped ended with exit code $code instead of 130"
        return 1
    fi
    echo "stopped after $(steps stopped) steps"
    shorter stopped --resume
    "${command[@]}" || return 1
    if diff -rq "$(newest whole)" "$(newest stopped)"; then
        echo "the same bytes" | tee "$out/resume.note"
        return 0
    fi
    shorter again
    "${command[@]}" || return 1
    if diff -rq "$(newest whole)" "$(newest again)" >/dev/null; then
        echo "the bytes differ after a stop, and not between two whole runs" >"$out/resume.note"
    else
        echo "the bytes differ between two whole runs already" >"$out/resume.note"
    fi
    return 1
}

folders=$(library_folders | paste -sd: -)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH${folders:+:}}$folders"

tools=$(toolkits | sed 's:.*:&/bin\:&/compute-sanitizer:' | paste -sd: -)
export PATH="$PATH${tools:+:$tools}"

part machine 30 machine
part refusals 90 refusals
# An H100 with 16 cores took 196 s for it when its reference ran on one of them.
part self-test 240 within "$bin/uard" self-test --device cuda --json "$out/self-test.json"
part scenes 90 within "$bin/uard" data scenes --out "$out/scenes"
part train-cuda 120 train_watched
part train-cpu 150 train cpu
part compare 30 compare
part exchange 60 exchange
part resume 120 resume
part memory 10 memory
part bench 330 bench
watched memcheck 200 --quick
# With --quick it took more than 144 s.
watched racecheck 100 --smallest

{
    echo '['
    sed '$!s/$/,/' "$out/entries.json"
    echo ']'
} >"$out/check.json"
rm -f "$out/entries.json" "$out/refusal.txt"
printf '\n%-12s %-8s %6s  %s\n' part result sec "what was seen"
cat "$out/table.txt"
for name in compare exchange; do
    if grep -q "^$name " "$out/table.txt"; then
        printf '\n'
        grep -E ': cuda |: [0-9]+ of |^seconds|^error' "$out/$name.log"
    fi
done
if grep -q '^bench ' "$out/table.txt"; then
    printf '\n'
    grep '^missing: ' "$out/bench.txt"
    requirements
fi
exit "$failed"
