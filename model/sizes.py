"""Sizes that a network is built from."""


def require_positive(**sizes: int) -> None:
    """Raises ValueError naming the first size that is not an integer of at least 1."""
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {size!r}")
