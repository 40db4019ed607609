"""One thin module per DVC stage: read params, call the library, write outputs."""

import sys

# Both refuse to work beside another distribution named reid: here, at the edge, that is one line. serving
# comes first: it only looks.
for _package in ("serving", "reid"):
    try:
        __import__(_package)
    except ImportError as error:
        sys.exit(f"reid: {error}")
