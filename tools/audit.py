"""Ask which pinned packages have known vulnerabilities: `make audit`.

pip-audit asks the package index. Exit status 1: a package has one. Without the index nothing is audited, and the script
says so with status 0, because that is no fault of a change.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "constraints.txt"


def report(dependencies: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit status and the lines for what pip-audit found, as its JSON has it."""
    lines = [
        f"{package['name']} {package['version']}: {found['id']}"
        f", fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in dependencies
        for found in package.get("vulns", [])
    ]
    asked = sum("vulns" in package for package in dependencies)
    if not asked:
        return 0, ["nothing was audited: the package index has no advisories here, or cannot be reached"]
    skipped = [package["name"] for package in dependencies if "vulns" not in package]
    if skipped:
        lines.append(f"not audited: {', '.join(skipped)}")
    vulnerable = sum(bool(package.get("vulns")) for package in dependencies)
    return int(vulnerable > 0), [*lines, f"{asked} packages audited, {vulnerable} with known vulnerabilities"]


def main() -> int:
    """Audit the pinned packages and print what was found."""
    options = (
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--no-deps",
        "--disable-pip",
        "--timeout",
        "15",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *options, "--requirement", str(PINS)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        # pip-audit ends with status 1 after a lost connection too
        dependencies = []
        print((done.stderr.strip().splitlines() or [f"pip-audit: status {done.returncode}"])[-1])
    status, lines = report(dependencies)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
