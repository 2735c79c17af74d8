import pytest

from poses_program import read_orbit


@pytest.fixture(scope="session")
def orbit(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The 96 frames of the demo as JPEGs of 320 x 240 pixels, 3.75 degrees apart."""
    return read_orbit(tmp_path_factory.mktemp("orbit"))
