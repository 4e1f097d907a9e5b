"""`python -m jobd.conformance`. pytest reads a plugin's command-line options only if it is given by `-p`."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "jobd.conformance.fixtures", "--pyargs", "jobd.conformance", *sys.argv[1:]]))
