#!/usr/bin/env bash
# Makes the environment of llama-cpp-python's server, for `make test-servers`: .venv-servers, or the directory named by
# ASSAY_SERVERS_VENV. Building llama.cpp takes a C++ compiler and about ten minutes. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv="${ASSAY_SERVERS_VENV:-.venv-servers}"
packages=("llama-cpp-python[server]==0.3.36" "gguf==0.19.0")
stamp="$venv/.assay-setup"
wanted="${packages[*]}"

if ! { [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }; then
    "${PYTHON:-python3}" -m venv --clear "$venv"
    CMAKE_ARGS="${CMAKE_ARGS:--DGGML_NATIVE=OFF -DGGML_OPENMP=OFF}" "$venv/bin/python" -m pip install --quiet "${packages[@]}"
    printf '%s\n' "$wanted" >"$stamp"
fi
