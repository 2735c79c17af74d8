#!/bin/sh
# Puts a program on this machine that some tests need, from the Debian package of the same name (colmap, chromium, slurmctld,
# slurmd), if that needs no questions asked. Where it cannot, it says why and succeeds: those tests are then skipped, giving
# the same reason.
program=$1
PATH=$PATH:/usr/sbin # where daemons are; users other than root do not look there
if command -v "$program" > /dev/null; then
    echo "$program is installed: $(command -v "$program")"
elif ! command -v apt-get > /dev/null; then
    echo "$program is not installed: this system has no apt-get; install it by hand to run the tests that need it"
elif [ "$(id -u)" -ne 0 ]; then
    echo "$program is not installed: apt-get needs root; run: sudo apt-get install $program"
else
    log=$(mktemp)
    if apt-get update > "$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$program" >> "$log" 2>&1; then
        echo "$program is installed: $(command -v "$program")"
    else
        echo "$program is not installed: apt-get failed:"
        tail -n 3 "$log"
    fi
    rm -f "$log"
fi
