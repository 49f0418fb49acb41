"""Where everything of the engine is stands in its README."""

from pathlib import Path

import service.engine

ROOT = Path(next(iter(service.engine.__path__)))


def test_every_file_of_the_engine_stands_there() -> None:
    readme = (ROOT / "README.md").read_text()
    files = [path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"]
    assert len(files) > 20
    assert [name for name in files if f"`{name}`" not in readme] == []
