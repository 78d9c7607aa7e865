"""`python tests/torture`: see `campaign`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path += [str(root / "tests" / "torture"), str(root / "tests" / "helpers"), str(root)]
    from campaign import main

    sys.exit(main())
