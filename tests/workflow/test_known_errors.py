"""profiles/ovhai/signatures.yaml: what lines in the logs of failed jobs mean."""

import pytest

from checkout import ROOT
from snakemake_executor_plugin_ovhai.diagnosis import diagnose
from snakemake_executor_plugin_ovhai.job import Job
from snakemake_executor_plugin_ovhai.signatures import OWN_FILE, load_signatures

FAILED = Job("a", "FAILED", exit_code=3, info_code="JOB_FAILED")


@pytest.mark.parametrize(
    ("line", "cause", "retry"),
    [
        ("OSError: Could not find compatible tinycudann extension for compute capability 61.", "tiny-cuda-nn", "no"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory", "too little memory", "changed"),
        ("exitcode  : -9 (pid: 12)", "memory was full", "changed"),
        ("error: upstream's training shows no sign of life for 30 minutes and was ended", "hung", "yes"),
        ("error: upstream's training ended with exit code 1: RuntimeError: CUDA error: unspecified launch failure",
         "GPU or its connection failed", "free"),
        ("error: upstream's training ended with exit code 1: ValueError: Training loss has gone to NaN!!!",
         "unstable", "no"),
        ("CUDA out of memory\nerror: upstream's extract_mesh.py stopped with exit code 1",
         "too little memory", "changed"),
        ("RuntimeError: shapes\nerror: upstream's extract_mesh.py stopped with exit code 1", "", "yes"),
        ("error: out of memory; lower sdfgrid.image_size", "too little memory", "changed"),
        ("error: results/a/images.tar: not a whole tar", "refuses its input", "no"),
    ],
)  # fmt: skip
def test_known_errors_of_neuralangelo(line: str, cause: str, retry: str) -> None:
    """The profile's known errors come first, and the executor's own after them."""
    profile = load_signatures(ROOT / "profiles" / "ovhai" / "signatures.yaml")
    failure = diagnose(FAILED, f"begin\n{line}\n", [*profile, *load_signatures(OWN_FILE)], 90)
    assert cause in failure.cause and failure.retry == retry
