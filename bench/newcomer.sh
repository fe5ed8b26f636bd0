#!/usr/bin/env bash
# What somebody new waits for; see bench/newcomer.py. --json, --engine, --wheel FILE
cd "$(dirname "$0")/.." && exec "${PYTHON:-python3}" -m bench.newcomer "$@"
