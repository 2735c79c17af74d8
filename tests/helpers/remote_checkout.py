"""A checkout whose steps run as jobs of the stand-in platform."""

import json
from dataclasses import dataclass
from typing import Any

from heads import labels
from ovhai_standin.platform import Platform

import s3_server
from checkout import Checkout

# What the variables of the tutorial's Makefile become, all in one run.
ENVIRONMENT = {"OVHAI_PREFIX": "experiments", "OVHAI_FLAVOR": "l4-1-gpu", "OVHAI_GPU": "2"}


@dataclass
class Remote:
    checkout: Checkout
    platform: Platform
    environment: dict[str, str]
    bucket: str
    s3: s3_server.S3Server

    def run(self, *arguments: str, **environment: str) -> Any:
        profile = ["--profile", "ovhai", "--configfile", "settings.yaml", "--ovhai-min-interval", "0.5"]
        return self.checkout.run([*profile, *arguments], **{**self.environment, **environment})

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {labels(job, "rule"): job for job in self.platform.jobs()}

    def load(self, name: str) -> Any:
        content = self.s3.client().get_object(Bucket=self.bucket, Key=f"experiments/results/lego/{name}")
        return json.loads(content["Body"].read())

    def command(self, rule: str) -> str:
        return str(self.jobs()[rule]["spec"]["command"][-1])

    def prefixes(self, rule: str) -> set[str]:
        return {volume["dataStore"]["prefix"] for volume in self.jobs()[rule]["spec"]["volumes"]}
