"""Running `referrals` as a person would."""

import json
import subprocess
import sys
from typing import Any

TIMEOUT_S = 60


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `referrals` with these settings and no others."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def run_check(**environment: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run `referrals check --json`; return its exit code and the findings by subject, in their order."""
    finished = run("check", "--json", **environment)
    assert finished.stderr == ""
    document = json.loads(finished.stdout)
    assert document["ok"] == (finished.returncode == 0)
    findings: dict[str, list[dict[str, Any]]] = {}
    for finding in document["findings"]:
        findings.setdefault(finding["subject"], []).append(finding)
    return finished.returncode, findings
