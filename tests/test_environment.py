"""The environment of `make serve`: what it holds, what it must not, and that it serves."""

import ast
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-cpu.lock"
PROJECT = ROOT / "pyproject.toml"
PROFILES = ("cpu", "gpu", "train", "dev", "image")
INSTALL_S = 300
READY_S = 60
STOP_S = 40

# What a package may import of the others. Imports point one way.
ALLOWED = {
    "model": {"model"},
    "export": {"export", "model"},
    "service": {"service", "export.bundle", "model.state", "model.rows"},
}
# What the client imports beside the standard library and itself, so that it needs no server.
CLIENT_ALLOWED = {"httpx", "msgspec", "numpy", "websockets"}
TERMINAL_ALLOWED = CLIENT_ALLOWED | {"rich", "shtab"}


def clean_environ(**settings: str) -> dict[str, str]:
    """This process's environment without what would change an other interpreter or server."""
    dropped = ("NTM_", "PYTHON", "VIRTUAL_ENV", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | settings


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_S,
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout


def is_current(stamp: Path) -> bool:
    """What make asks of .venv/stamp."""
    if not stamp.exists():
        return False
    return all(stamp.stat().st_mtime >= path.stat().st_mtime for path in (LOCK, PROJECT))


def install(folder: Path) -> None:
    """A virtual environment as `make serve` makes it."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(*pip, "-r", LOCK)
    run(*pip, "--no-deps", "-e", ROOT)
    (folder / "stamp").touch()


def cached(request: pytest.FixtureRequest, name: str, make: Callable[[Path], None]) -> Path:
    """An environment that is kept with pytest's cache for as long as locks and project stay."""
    content = LOCK.read_bytes() + PROJECT.read_bytes() + sys.version.encode()
    folder = request.config.cache.mkdir(f"{name}-" + hashlib.sha256(content).hexdigest()[:16])
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of pytest may be making it now
        if not (folder / "venv" / "stamp").exists():
            make(folder / "venv")
    return folder / "venv"


@pytest.fixture(scope="module")
def slim(request: pytest.FixtureRequest) -> Path:
    """The environment of `make serve`, else one like it, kept with pytest's cache."""
    if is_current(ROOT / ".venv" / "stamp"):
        return ROOT / ".venv"
    return cached(request, "slim", install)


def install_client(folder: Path) -> None:
    """An environment of the client alone: its packages, and ours without its dependencies."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    project = tomllib.loads(PROJECT.read_text())["project"]
    base = [r for r in project["dependencies"] if Requirement(r).name in ("msgspec", "numpy")]
    run(*pip, *base, *project["optional-dependencies"]["client"])
    run(*pip, "--no-deps", "-e", ROOT)
    (folder / "stamp").touch()


@pytest.fixture(scope="module")
def client_only(request: pytest.FixtureRequest) -> Path:
    """The environment of somebody who only calls a server."""
    return cached(request, "client", install_client)


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Poll /health/ready; the wait between polls ends at once when the process does."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ntm serve exited with {process.returncode}:\n{log.read_text()}")
    pytest.fail(f"ntm serve was not ready within {READY_S} s:\n{log.read_text()}")


@contextmanager
def served(venv: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`ntm serve` of an environment on the zoo, ready; killed at the end if it still runs."""
    port, log = free_port(), folder / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [venv / "bin" / "ntm", "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=clean_environ(NTM_MODELS=str(ROOT / "model" / "zoo"), NTM_RUNTIME="onnx"),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_S)


@pytest.mark.environment
@pytest.mark.parametrize("name", ["torch", "onnx", "onnxscript"])
def test_the_slim_environment_has_no(name: str, slim: Path, tmp_path: Path):
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run(slim / "bin" / "python", "-c", code, cwd=tmp_path).strip() == "None"


@pytest.mark.environment
def test_the_slim_environment_holds_its_lock_and_no_more(slim: Path):
    listed = json.loads(run(slim / "bin" / "python", "-m", "pip", "list", "--format=json"))
    versions = {str(canonicalize_name(item["name"])): item["version"] for item in listed}
    ours = {"pip", "setuptools", "ntm-serve"}
    assert {name: versions[name] for name in versions.keys() - ours} == locked("cpu")
    assert "No broken requirements" in run(slim / "bin" / "python", "-m", "pip", "check")


@pytest.mark.environment
def test_the_slim_environment_serves_a_session_and_stops_on_sigterm(slim: Path, tmp_path: Path):
    row = [0, 1, 0, 1, 1, 0, 1, 0, 0]
    with (
        served(slim, tmp_path) as (process, url),
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        created = client.post("/v1/models/copy/sessions", json={})
        assert created.status_code == 201, created.text
        assert (created.json()["step"], created.json()["revision"]) == (0, 1)
        steps = f"/v1/sessions/{created.json()['id']}/steps"
        first = client.post(steps, json={"inputs": [row, row, row]})
        assert first.status_code == 200, first.text
        assert (first.json()["step"], first.json()["revision"]) == (3, 2)
        assert [len(output) for output in first.json()["outputs"]] == [8, 8, 8]
        assert all(0 <= value <= 1 for output in first.json()["outputs"] for value in output)
        second = client.post(steps, json={"inputs": [row]})
        assert (second.json()["step"], second.json()["revision"]) == (4, 3)
        assert client.get("/v1/models").json()["models"][0]["runtime"] == "onnx"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, (tmp_path / "server.log").read_text()


@pytest.mark.environment
def test_the_slim_environments_runtime_tells_nobody_of_itself(slim: Path, tmp_path: Path):
    code = (
        "import pathlib, sys, time\n"
        "from service.engine.onnx import open_session\n"
        "model = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "open_session(model, 1, 'CPUExecutionProvider')\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    step = ROOT / "model" / "zoo" / "copy" / "bundle" / "step.onnx"
    done = subprocess.run(
        [slim / "bin" / "python", "-c", code, step], cwd=tmp_path, env=clean_environ(HOME=str(home))
    )
    assert done.returncode == 0
    # Before it reports, it draws an identity and keeps it, with what it has not sent yet, there.
    assert not list(home.rglob("*"))


@pytest.mark.environment
def test_the_client_works_in_an_environment_without_the_servers_packages(
    slim: Path, client_only: Path, tmp_path: Path
):
    listed = json.loads(run(client_only / "bin" / "python", "-m", "pip", "list", "--format=json"))
    names = {str(canonicalize_name(item["name"])) for item in listed}
    assert not names & {"litestar", "uvicorn", "prometheus-client", "safetensors", "onnxruntime"}
    code = (
        "import sys, numpy as np\n"
        "from service.client import Client\n"
        "with Client(sys.argv[1]) as client, client.session('copy') as session:\n"
        "    print(session.step(np.zeros((3, 9))).outputs.shape)\n"
        "    with session.stream() as stream: print(stream.step(np.zeros(9)).step)\n"
        "    print(next(session.events(after=session.core.incarnation + '-1')).name)\n"
    )
    with served(slim, tmp_path) as (_, url):
        told = run(client_only / "bin" / "python", "-c", code, url, cwd=tmp_path)
        assert told.split("\n")[:3] == ["(3, 8)", "4", "stepped"]
        ntm = client_only / "bin" / "ntm"
        session = json.loads(run(ntm, "session", "create", "copy", "--url", url, "--json"))["id"]
        assert "128 x 20" in run(ntm, "session", "memory", session, "--url", url)
        assert session in run(slim / "bin" / "ntm", "session", "list", "--url", url)
        assert "_shtab_ntm" in run(ntm, "completion", "bash")


@pytest.mark.environment
def test_the_wheel_carries_the_zoo_and_the_explorer(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ALLOWED:
        shutil.copytree(ROOT / package, source / package, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    entries = [card.parent for card in (ROOT / "model" / "zoo").glob("*/card.json")]
    zoo = {path for entry in entries for path in entry.rglob("*") if path.is_file()}
    wanted = {path.relative_to(ROOT).as_posix() for path in zoo if path.name != "README.md"}
    assert "model/zoo/copy/bundle/step.onnx" in wanted
    page = {path for path in (ROOT / "service" / "explorer").rglob("*") if path.is_file()}
    wanted |= {path.relative_to(ROOT).as_posix() for path in page}
    assert {"service/explorer/index.html", "service/explorer/js/app.js"} <= wanted
    assert wanted <= packed
    assert not {name for name in packed if name.startswith("tests")}


def locked(profile: str) -> dict[str, str]:
    """The pins of a lock. Fails on a line that is no plain `name==version`."""
    pins: dict[str, str] = {}
    for line in (ROOT / f"requirements-{profile}.lock").read_text().splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9-]+==(\d+!)?[0-9][0-9a-z.]*", line), line
            name, version = line.split("==")
            pins[name] = version
    return pins


def required(profile: str) -> list[Requirement]:
    """What pyproject.toml asks for: the base, the extra and the extras it names."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    found: list[Requirement] = []
    waiting = [*project["dependencies"], *project["optional-dependencies"][profile]]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == project["name"]:
            for extra in requirement.extras:
                waiting += project["optional-dependencies"][extra]
        else:
            found.append(requirement)
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_a_lock_satisfies_its_profile(profile: str):
    pins = locked(profile)
    for requirement in required(profile):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in the {profile} lock"
        assert version in requirement.specifier, f"{requirement} is locked at {version}"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_lock_has_at_most_one_onnx_runtime(profile: str):
    runtimes = [name for name in locked(profile) if name.startswith("onnxruntime")]
    wanted = {"cpu": ["onnxruntime"], "train": [], "image": []}.get(profile, ["onnxruntime-gpu"])
    assert runtimes == wanted


@pytest.mark.parametrize(
    ("profile", "more"), [("cpu", "image"), ("gpu", "image"), ("train", "cpu")]
)
def test_what_an_image_adds_fits_the_lock_it_is_added_to(profile: str, more: str):
    ours, added = locked(profile), locked(more)
    shared = ours.keys() & added.keys()
    assert {name: ours[name] for name in shared} == {name: added[name] for name in shared}


# One shows the whole way, another goes it from weights to what the service runs, when called: each
# is a command of its own, which nothing else of its package imports. The third is the runtime of a
# family's own kernel, imported where it is asked for by name.
WHOLE_WAY = ("example_usage.py", "compile_command.py", "fused.py")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, in any of its lines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: a relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str):
    for path in (ROOT / package).rglob("*.py"):
        if path.name in WHOLE_WAY:
            continue
        for module in imports(path):
            if module.split(".")[0] in ALLOWED:
                allowed = {module, module.split(".")[0]} & ALLOWED[package]
                assert allowed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize(
    ("folder", "others", "ours"),
    [
        ("client", CLIENT_ALLOWED, ("service.client",)),
        ("terminal", TERMINAL_ALLOWED, ("service.client", "service.terminal", "service.cli")),
    ],
)
def test_the_client_imports_nothing_of_the_server(
    folder: str, others: set[str], ours: tuple[str, ...]
):
    for path in (ROOT / "service" / folder).rglob("*.py"):
        for module in imports(path):
            top = module.split(".")[0]
            known = top in others | sys.stdlib_module_names or module.startswith(ours)
            assert known, f"{path.relative_to(ROOT)} imports {module}"
