import pytest

from paha_core.config import Preset
from paha_core.store import Store
from paha_core.training.tasks.pose_autoencoder import train_pose_autoencoder
from paha_core.training.tasks.video_encoder import train_video_encoder
from synthetic import PixelDetector, make_store, make_truth, preset


@pytest.fixture(scope="session")
def run_preset() -> Preset:
    return preset()


@pytest.fixture(scope="session")
def run_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A finished run with the studio's truth; tests only add to it."""
    store = make_store(tmp_path_factory.mktemp("run"))
    make_truth(store)
    train_pose_autoencoder(store, preset())
    train_video_encoder(store, preset())
    return store


@pytest.fixture(scope="session")
def data_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run before generation: clips and keypoints only."""
    return make_store(tmp_path_factory.mktemp("data"), generated=False)


@pytest.fixture(autouse=True)
def pixel_detector(monkeypatch: pytest.MonkeyPatch) -> type[PixelDetector]:
    monkeypatch.setattr("paha_core.pose.open_detector", lambda config: PixelDetector())
    PixelDetector.calls = 0
    return PixelDetector
