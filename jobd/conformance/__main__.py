"""`python -m jobd.conformance`. pytest reads command-line options from a plugin only when it is named by `-p`."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-p", "jobd.conformance.fixtures", "--pyargs", "jobd.conformance", *sys.argv[1:]]))
