"""The shell text of one rule: its command, and around it what Snakemake does where it runs a rule itself.

No Snakemake runs in a job, so bash does this: a shadow folder, the benchmark, the flag touch().
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .volumes import WORKDIR

# Times are in microseconds, or in whole seconds if bash is older than 5. CPU times are in milliseconds, as bash counts
# them for the processes that a shell has waited for. Memory and disk are not measured, and Snakemake also writes NA for
# what it could not measure. The columns and their formats are those of snakemake/benchmark.py.
MEASURE = r"""clock() { local now=${EPOCHREALTIME:-$SECONDS.000000}; echo "${now/[.,]/}"; }
milli() { local second=${1#*m}; second=${second%s}; echo $(( ${1%%m*} * 60000 + 10#${second/[.,]/} )); }
hundredths() { printf '%d.%02d' $(( $1 / 100 )) $(( $1 % 100 )); }
measure() {
    local took=$(( $(clock) - $1 )) day='' user system cpu whole clock_time
    times > "/tmp/times.$BASHPID"
    { read -r user; read -r user system; } < "/tmp/times.$BASHPID"
    rm -f "/tmp/times.$BASHPID"
    [ "$took" -gt 0 ] || took=1
    cpu=$(( $(milli "$user") + $(milli "$system") ))
    whole=$(( took / 1000000 ))
    if [ "$whole" -ge 86400 ]; then day='1 day, '; fi
    if [ "$whole" -ge 172800 ]; then day="$(( whole / 86400 )) days, "; fi
    clock_time=$(printf '%s%d:%02d:%02d' "$day" $(( whole / 3600 % 24 )) $(( whole / 60 % 60 )) $(( whole % 60 )))
    seconds=$(hundredths $(( (took + 5000) / 10000 )))
    load=$(hundredths $(( cpu * 10000000 / took )))
    cpu_seconds=$(hundredths $(( (cpu + 5) / 10 )))
    write_row "$clock_time"
}
"""
TSV = r"""header='s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n'
write_row() {
    printf '%s\t%s\tNA\tNA\tNA\tNA\tNA\tNA\t%s\t%s\n' "$seconds" "$1" "$load" "$cpu_seconds"
} >> "$rows"
"""
JSONL = r"""header=''
write_row() {
    printf '{"cpu_time": %s, "h:m:s": "%s", "io_in": "NA", "io_out": "NA", "max_pss": "NA", ' "$cpu_seconds" "$1"
    printf '"max_rss": "NA", "max_uss": "NA", "max_vms": "NA", "mean_load": %s, "s": %s}\n' "$load" "$seconds"
} >> "$rows"
"""


@dataclass(frozen=True)
class Shadow:
    """Snakemake's keyword `shadow:`. The files are those of the rule, by their paths in the command."""

    depth: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    logs: Sequence[str]


def get_rule_script(
    commands: Sequence[str], shadow: Shadow | None = None, benchmark: str = "", touched: Sequence[str] = ()
) -> str:
    """commands: the rule's command, once for each time that it runs. benchmark: the path of the file, or nothing.

    It runs under `set -e`. A failure must end it, so no command stands in a condition, where bash ignores `set -e`.
    """
    script = (
        get_benchmarked(commands, benchmark) if benchmark else "\n".join(f"(\n{command}\n)" for command in commands)
    )
    if shadow:
        script = get_shadowed(script, shadow)
    return "\n".join([script, *(f": >> {shlex.quote(path)}" for path in touched)])


def get_benchmarked(commands: Sequence[str], benchmark: str) -> str:
    """Each run has a shell of its own, because bash counts the CPU time of all that a shell has run.

    The file appears once all runs have succeeded.
    """
    runs = "\n".join(f'(\nbegin=$(clock)\n(\n{command}\n)\nmeasure "$begin"\n)' for command in commands)
    path = shlex.quote(str(WORKDIR / benchmark))  # absolute, since the command may run in a shadow folder
    table = JSONL if benchmark.endswith(".jsonl") else TSV
    return f'(\n{MEASURE}{table}rows=$(mktemp)\nprintf "$header" > "$rows"\n{runs}\ncat "$rows" > {path}\n)'


def get_shadowed(script: str, shadow: Shadow) -> str:
    """Run the script in a folder of its own, from which only outputs and logs come back. Logs also come if it fails.

    `minimal` and `copy-minimal` bring only the inputs into that folder. `shallow` and `full` bring everything that the
    job has: it is a tree of folders with links to all files.
    """
    inputs, outputs, logs = (get_relative(files) for files in (shadow.inputs, shadow.outputs, shadow.logs))
    folders = sorted({str(PurePosixPath(path).parent) for path in (*inputs, *outputs, *logs)})
    lines = [
        'work=$PWD shadow=$(mktemp -d "${TMPDIR:-/tmp}/shadow.XXXXXX")',
        *(f'mkdir -p "$shadow"/{shlex.quote(folder)}' for folder in folders),
    ]
    if shadow.depth in ("shallow", "full"):
        lines.append('cp -rs "$work/." "$shadow/"')
    else:
        bring = "cp" if shadow.depth == "copy-minimal" else "ln -s"
        lines += [f'{bring} "$work"/{path} "$shadow"/{path}' for path in map(shlex.quote, inputs)]
    lines += [
        'take() { if [ -e "$shadow/$1" ] && ! [ "$shadow/$1" -ef "$work/$1" ]; then mv "$shadow/$1" "$work/$1"; fi; }',
        get_function("take_logs", [f"take {shlex.quote(path)}" for path in logs]),
        "trap take_logs EXIT",
        'cd "$shadow"',
        script,
        *(f"take {shlex.quote(path)}" for path in outputs),
    ]
    return "\n".join(["(", *lines, ")"])


def get_function(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{name}() {{", *(lines or [":"]), "}"])


def get_relative(paths: Sequence[str]) -> list[str]:
    """Without files that have absolute paths, which are the same from everywhere. Each only once."""
    return [path for path in dict.fromkeys(paths) if not PurePosixPath(path).is_absolute()]
