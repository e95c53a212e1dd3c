"""The report of an export, which lies beside the model: what was made of what, and how near it is to PyTorch."""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.export.conversion import ExportPlan

REPORT_FILE = "imagegen-export.json"


def write_report(plan: ExportPlan, done: dict[str, Any], folder: Path) -> None:
    """Write the report of a finished conversion into its folder; ``done`` is the converter's last event."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    report = {
        "source": plan.model,
        **({"source_sha256": _sha256(plan.source.path)} if plan.source.single_file else {}),
        "class": plan.source.class_name,
        "weight_format": plan.compression.weight_format,
        "group_size": plan.compression.kept_group_size,
        "compression": asdict(plan.compression),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": done["versions"],
        "parts": {
            name: {"parameters": plan.source.parameters.get(name), **proof} for name, proof in done["parts"].items()
        },
        "files": {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in files
            if path.name not in (REPORT_FILE, "proof.json")
        },
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
