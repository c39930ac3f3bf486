from harness.config import RunConfig as RunConfig
from harness.run.api import evaluate as evaluate
from harness.run.api import load as load
from harness.run.matrix import run as run

__version__: str
