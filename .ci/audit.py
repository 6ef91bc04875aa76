"""Ask pip-audit which installed packages have known vulnerabilities: `make audit`. The exit code is 1 if any has.

Where its database (PyPI's) cannot be reached, or a mirror answers that it knows no package, that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--format", "json", "--timeout", "10"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"not audited: pip-audit could not ask its database: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return 0
    looked_up = [package for package in packages if "vulns" in package]
    found = [(package, each) for package in looked_up for each in package["vulns"]]
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {each['id']}; fixed in {fixed}")
    missing = len(packages) - len(looked_up)
    print(f"{len(looked_up)} packages audited, {len(found)} vulnerabilities; {missing} could not be looked up here")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
