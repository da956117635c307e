#!/bin/sh
# Tests the native executor for undefined behaviour: builds it in a temporary copy with AddressSanitizer and
# UndefinedBehaviorSanitizer, and runs its tests, damaged plans included. Needs gcc with libasan and libubsan; takes a few
# minutes. Usage: tests/sanitize.sh [python] [pytest arguments]
set -eu
python=${1:-python3}
[ $# -gt 0 ] && shift
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root/setup.py" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$root/src" "$root/tests" "$work"
find "$work/src" \( -name '*.so' -o -name '_build.json' -o -name '*.egg-info' \) -prune -exec rm -rf {} +
cd "$work"
CFLAGS="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
    LDFLAGS="-fsanitize=address,undefined" "$python" setup.py -q build_ext --inplace
[ -e src/chainrule/native/_executor*.so ] || { echo "the executor was not built: $(cat src/chainrule/native/_build.json)"; exit 1; }
# Python's own allocations live until its end, so leaks are not looked for here; a test watches the memory of many runs.
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$work/src" \
    CHAINRULE_DRAWN="${CHAINRULE_DRAWN:-300}" "$python" -m pytest tests/test_executor.py -q -p no:cacheprovider "$@"
