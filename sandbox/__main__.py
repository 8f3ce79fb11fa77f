"""`python -m sandbox` is the demo; `make demo` runs it."""

import signal
import sys

# until the demo handles signals itself, a Ctrl-C during the imports ends the process without a traceback
signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    from sandbox.demo import main
except ImportError as error:
    sys.exit(
        f"the demo needs a package that is not installed: {error}\nrun `make demo`, which installs what is missing"
    )

if __name__ == "__main__":
    sys.exit(main())
