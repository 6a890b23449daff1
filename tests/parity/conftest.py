"""Makes `harness` importable from the parity tests whatever the import mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
