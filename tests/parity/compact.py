"""Makes the files of ``tests/golden/parity`` from full descriptions of reference networks.

Usage: python tests/parity/compact.py DESCRIPTION.json...
"""

import json
import sys
from pathlib import Path

from expectation import Expectation

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Expectation.of_reference(json.loads(Path(argument).read_text())).save(Path(argument).stem)
