"""The fixtures of the black-box tests."""

from support.fixtures import *  # noqa: F401,F403
