#!/usr/bin/env bash
# Runs bench_random_mixed for hours in one process; a CSV row an epoch on stdout (docs/soak.md).
# --profile balanced|lean|speed: hakmem's. Environment: BENCH_BIN DURATION_SEC EPOCH_SEC WS
# SOAK_PRELOAD SOAK_SYSCALLS SOAK_RESUME.
exec /usr/bin/python3 "$(dirname "$0")/soak.py" single "$@"
