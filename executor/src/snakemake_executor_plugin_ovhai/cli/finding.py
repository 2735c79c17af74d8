"""What one check of `snakemake-ovhai doctor` has found."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. Something is wrong exactly if there is a remedy."""

    check: str
    text: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.remedy

    @property
    def line(self) -> str:
        text = " ".join(f"{self.check}: {self.text}".split())
        return f"ok    {text}" if self.ok else f"WRONG {text} -> {self.remedy}"

    @property
    def record(self) -> dict[str, Any]:
        return {"check": self.check, "ok": self.ok, "text": self.text, "remedy": self.remedy}
