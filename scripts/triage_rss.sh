#!/usr/bin/env bash
# Who causes the RSS of the random-mixed benchmark, and what to set (docs/soak.md).
# usage: triage_rss.sh [--json OUT] [ALLOCATOR.so]; environment: BENCH_BIN WS.
exec /usr/bin/python3 "$(dirname "$0")/triage_rss.py" "$@"
