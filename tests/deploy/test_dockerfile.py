"""The Dockerfile says what is promised of the images; an engine is asked in test_deployment.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.deployment import ROOT

FILE = ROOT / "Dockerfile"
TEXT = FILE.read_text()
NAMES = re.findall(r"^FROM \S+ AS (\S+)$", TEXT, re.MULTILINE)
SHIPPED = ("cpu", "gpu", "train")


def instructions(stage: str) -> list[str]:
    """Those of a stage and of what it is built on, in order."""
    (parent,) = re.findall(rf"^FROM (\S+) AS {stage}$", TEXT, re.MULTILINE)
    before = instructions(parent) if parent in NAMES else []
    body = TEXT.split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    joined = re.sub(r"\\\n\s*", "", body)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return before + lines


def last(stage: str, name: str) -> str:
    """The last instruction of a kind that a stage has."""
    return [line for line in instructions(stage) if line.startswith(f"{name} ")][-1]


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FILE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_plain_build_gives_the_gpu_image():
    assert NAMES[-1] == "gpu"


def test_the_base_is_pinned_to_a_patch_release():
    assert re.search(r"^ARG BASE=python:3\.\d+\.\d+-slim-[a-z]+$", TEXT, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - set(NAMES) == {"${BASE}"}


def test_every_image_runs_ntm_itself_as_a_user_without_rights():
    for stage in SHIPPED:
        assert last(stage, "USER") == "USER 10001:10001"
        assert last(stage, "ENTRYPOINT") == 'ENTRYPOINT ["/opt/ntm/bin/ntm"]'


def test_those_that_serve_ask_themselves_whether_they_are_ready():
    for stage in ("cpu", "gpu"):
        assert last(stage, "HEALTHCHECK").endswith('CMD ["/opt/ntm/bin/ntm", "ready"]')
        assert last(stage, "CMD") == 'CMD ["serve"]'
        assert last(stage, "VOLUME") == 'VOLUME ["/data", "/models"]'


def test_an_image_has_the_packages_of_its_lock_and_no_build_tools():
    for stage in SHIPPED:
        assert f"requirements-{stage}.lock" in last(f"{stage}-packages", "RUN")
        assert f"COPY --from={stage}-packages /opt/ntm /opt/ntm" in instructions(stage)
    assert not re.search(r"apt-get|apk|build-essential|gcc|g\+\+", TEXT)


def test_our_code_comes_after_the_packages():
    for stage in SHIPPED:
        lines = instructions(stage)
        packages = lines.index(f"COPY --from={stage}-packages /opt/ntm /opt/ntm")
        (code,) = (at for at, line in enumerate(lines) if "from=wheel" in line)
        assert packages < code
        assert not any("COPY service" in line for line in instructions(f"{stage}-packages"))


def test_what_is_copied_is_let_through_and_no_more():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists()
        assert any(Path(source).match(f"{pattern}") or source.startswith(f"{pattern}/")
                   for pattern in let_through), source  # fmt: skip
