"""What every test relies on: full precision, one compilation cache, no weights of the user; shared fixtures."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from msst_jax.registry import SEGMENTERS, STYLIZERS, TASKS
from msst_jax.video import feedforward
from tests.helpers.compilation import compile_quickly, share_compilation_cache
from tests.helpers.feedforward import small_any_model, small_model
from tests.helpers.logging_state import restored_logging
from tests.helpers.pictures import save, stripe
from tests.helpers.training_runs import make_photos

SHARED = Path(__file__).parents[2] / "shared"

jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_num_cpu_devices", 4)  # training is data-parallel; all else runs on the first


def pytest_configure(config: pytest.Config) -> None:
    """Compiled programs outlive the run in .pytest_cache; without it, they are shared within the run.

    The slow tests, which compare whole runs with PyTorch, compile as users do.
    """
    heed_signals_in_programs()
    if config.option.markexpr == "not slow":
        compile_quickly()
    cache = getattr(config, "cache", None)
    share_compilation_cache(cache.mkdir("xla") if cache else Path(tempfile.mkdtemp(prefix="xla-")))


def heed_signals_in_programs() -> None:
    """Signals that this run ignores, as a shell's background job or under nohup, are heeded by what the tests start.

    A program inherits that a signal is ignored, but no function that handles it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(autouse=True)
def no_user_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path_factory.mktemp("weights")))


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture(autouse=True)
def registries_of_its_own() -> Iterator[None]:
    """What a test registers is taken back."""
    yield
    for registry in (SEGMENTERS, TASKS, STYLIZERS):
        for name in registry.names:
            registry.remove(name)


@pytest.fixture
def shared() -> Path:
    if not SHARED.exists():
        pytest.skip("the team's shared data is not beside this checkout")
    return SHARED


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the converter writes; the folder is not there yet."""
    return tmp_path / "converted" / "out.safetensors"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos to train on, their masks and two styles; see `make_photos`."""
    return make_photos(tmp_path_factory.mktemp("photos") / "in")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with a small fast model, made once for all tests; they only read it."""
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def any_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with a small fast model for any painting, made once for all tests; they only read it."""
    return small_any_model(tmp_path_factory.mktemp("any_model"))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are stylized in several batches of a few frames."""
    monkeypatch.setattr(feedforward, "MAX_BATCH", 2)


@pytest.fixture
def left(tmp_path: Path) -> dict[str, str]:
    """A mask file: the person is on the left of all frames of 64x48."""
    return {"person": save(tmp_path / "left.png", stripe(48, 64, 0, 0.5))}
