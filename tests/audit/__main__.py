"""`make audit`: is anything known against the packages that the locks pin, and are they sound?

Ends with 1 for what is wrong, and with 3 where nothing was found wrong but nobody could be asked
for known vulnerabilities, or not about every package: that is no all-clear.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

from tests.audit import pins, vulnerabilities

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = (".venv", ".venv-dev")
WRONG, INCOMPLETE = 1, 3


def main() -> int:
    """Look at every lock and every environment that is there."""
    locks = sorted(ROOT.glob("requirements-*.lock"))
    wrong = [*check_pins(locks), *check_environments()]
    found, unasked = check_vulnerabilities(locks)
    wrong += found
    for line in wrong:
        print(f"audit: WRONG: {line}")
    if unasked:
        print(f"audit: INCOMPLETE: {unasked}. This is no all-clear.")
    return WRONG if wrong else INCOMPLETE if unasked else 0


def check_pins(locks: list[Path]) -> list[str]:
    """What is wrong with the locks' pins, by the index that pip asks."""
    read = {lock.name: pins.read(lock) for lock in locks}
    found: pins.Offers = {}
    wrong: list[str] = []
    for group in pins.groups(list(read.values())):
        try:
            offers, warnings = pins.offered(group)
        except RuntimeError as error:
            return [f"a pin is not to be had: {str(error).strip().splitlines()[-1]}"]
        found |= offers
        wrong += pins.yanked(warnings)
    for name, locked in read.items():
        wrong += [f"{name}: {line}" for line in pins.problems(locked, found)]
    print(f"audit: looked up {len(found)} pins of {len(read)} locks: {len(wrong)} wrong")
    return wrong


def check_environments() -> list[str]:
    """What pip has against the environments that are there."""
    wrong: list[str] = []
    for name in ENVIRONMENTS:
        python = ROOT / name / "bin" / "python"
        if python.exists():
            command = [str(python), "-m", "pip", "check"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            print(f"audit: pip check of {name}: {ended.returncode}")
            wrong += [f"{name}: {line}" for line in ended.stdout.splitlines() if ended.returncode]
    return wrong


def check_vulnerabilities(locks: list[Path]) -> tuple[list[str], str]:
    """What is known against the locks, and what nobody could be asked."""
    first = locks[0]
    service = next((one for one in vulnerabilities.SERVICES if vulnerabilities.ask(one, first)), "")
    if not service:
        tried = " nor ".join(vulnerabilities.SERVICES)
        return [], f"neither {tried} answers: known vulnerabilities were NOT looked for"
    text, today = vulnerabilities.IGNORED.read_text(), datetime.date.today()
    try:
        passed = vulnerabilities.ignored(text, today)
    except ValueError as error:
        return [str(error)], ""
    heard = [vulnerabilities.ask(service, lock) for lock in locks]
    found = {one for answer in heard if answer for one in answer.findings}
    unknown = {name for answer in heard if answer for name in answer.unknown}
    silent = [lock.name for lock, answer in zip(locks, heard, strict=True) if answer is None]
    wrong = [
        f"{one.package}=={one.version}: {', '.join(one.ids)}; fixed in {', '.join(one.fixed)}"
        for one in sorted(vulnerabilities.open_findings(found, passed))
    ]
    print(f"audit: {service} was asked for known vulnerabilities: {len(found)} found")
    unasked = sorted(unknown) + silent
    return wrong, f"{service} could not say anything of {', '.join(unasked)}" if unasked else ""


if __name__ == "__main__":
    sys.exit(main())
