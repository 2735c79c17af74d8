#!/bin/sh
# Puts Debian's COLMAP program on this machine for the tests of the `colmap` backend, if that needs no questions asked.
# Where it cannot, it says why and succeeds: those tests are then skipped, giving the same reason.
if command -v colmap > /dev/null; then
    echo "colmap is installed: $(command -v colmap)"
elif ! command -v apt-get > /dev/null; then
    echo "colmap is not installed: this system has no apt-get; install COLMAP by hand to test that backend"
elif [ "$(id -u)" -ne 0 ]; then
    echo "colmap is not installed: apt-get needs root; run: sudo apt-get install colmap"
else
    log=$(mktemp)
    if apt-get update > "$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends colmap >> "$log" 2>&1; then
        echo "colmap is installed: $(command -v colmap)"
    else
        echo "colmap is not installed: apt-get failed:"
        tail -n 3 "$log"
    fi
    rm -f "$log"
fi
