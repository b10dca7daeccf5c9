"""How is TensorFlow started without its page of notices?"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what is written to standard error while TensorFlow is imported; show it if the import fails.

    Its notices on oneDNN and CUDA come from C++ before any log level applies, so the file descriptor itself is set
    aside. Afterwards only errors are shown: advice on retracing is for those who write training loops.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(shown, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
