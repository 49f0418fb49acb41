"""ntm-serve under Ray Serve: see ../README.md."""
