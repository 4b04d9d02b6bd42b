#!/bin/bash
# Build friedel on a machine with a GPU, run the tests that need one and the benchmarks; results go to $OUT.
#   tools/gpu.sh [build] [tests] [sanitize] [bench [ARGUMENTS OF benchmarks/integration_gpu.py]]
# Needs cupy, nvcc (for the machine's own libraries only), cmake, nanobind and scikit-build-core; nothing is downloaded.
set -e
cd "$(dirname "$0")/.."
OUT=${OUT:-$PWD/gpu-results}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1 FRIEDEL_SHARED=${FRIEDEL_SHARED:-/nonexistent}
while [ $# -gt 0 ]; do
    step=$1
    shift
    case $step in
        build)
            python3 -m pip install -q --no-build-isolation --no-index --no-deps --no-compile --target "${SITE:-/tmp/friedel-site}" --upgrade . 2>&1 | grep -v WARNING || true
            ;;
        tests)
            PYTHONPATH=${SITE:-/tmp/friedel-site}:$PYTHONPATH python3 -m pytest -q -m gpu -p no:cacheprovider -W default \
                tests/kernels/test_cuda_decode.py tests/kernels/test_cuda_scatter.py tests/kernels/test_cuda_robust.py \
                tests/techniques/integration/test_device_map.py 2>&1 | tee "$OUT/tests.txt" | tail -30
            ;;
        sanitize)
            PYTHONPATH=${SITE:-/tmp/friedel-site}:$PYTHONPATH compute-sanitizer --tool memcheck --error-exitcode 9 python3 -m pytest -q -m gpu \
                -p no:cacheprovider -W default tests/kernels/test_cuda_decode.py -k "damaged or no_lz4 or truncated or escapes or matches or end_anywhere or lead_out or every_place" 2>&1 |
                tee "$OUT/sanitize.txt" | tail -15
            PYTHONPATH=${SITE:-/tmp/friedel-site}:$PYTHONPATH compute-sanitizer --tool memcheck --error-exitcode 9 python3 -m pytest -q -m gpu \
                -p no:cacheprovider -W default tests/kernels/test_cuda_scatter.py tests/kernels/test_cuda_robust.py \
                -k "several_pieces or start_anywhere or not_consecutive or invalid or outliers or large_bins or few_pixels or without_entries" \
                2>&1 | tee "$OUT/sanitize_sums.txt" | tail -15
            PYTHONPATH=${SITE:-/tmp/friedel-site}:$PYTHONPATH compute-sanitizer --tool racecheck --error-exitcode 9 python3 -m pytest -q -m gpu \
                -p no:cacheprovider -W default tests/kernels/test_cuda_decode.py -k "matches or all_lengths or limits_of or lz4_of_counts or every_place" 2>&1 |
                tee "$OUT/racecheck.txt" | tail -15
            ;;
        bench)
            PYTHONPATH=${SITE:-/tmp/friedel-site}:$PYTHONPATH python3 benchmarks/integration_gpu.py --record "$OUT/integration_gpu.json" "$@"
            exit
            ;;
    esac
done
