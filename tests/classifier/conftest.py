"""A tiny task that a tiny network learns in a second: three kinds of pictures, told apart by the place of a
coloured disc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from nightlatch.classifier import victims
from nightlatch.classifier.attacks import Planted, Setting
from nightlatch.classifier.attacks.static import BadNets
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.subject import TorchSubject
from nightlatch.classifier.training import Recipe, fit

CLASSES = ("left", "middle", "right")
SIZE = 16


def pictures(n: int, seed: int) -> Labelled:
    """``n`` pictures of 16 x 16: a disc of random colour in the left, middle or right third, on a noisy
    ground.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    labels = torch.randint(0, 3, (n,), generator=generator)
    x = 0.3 * rand(n, 3, 1, 1) + 0.15 * rand(n, 3, SIZE, SIZE)
    rows, columns = torch.arange(SIZE).view(1, -1, 1), torch.arange(SIZE).view(1, 1, -1)
    top, left = 4 + 8 * rand(n, 1, 1), (labels.view(-1, 1, 1) + 0.5) * SIZE / 3 + 2 * rand(n, 1, 1) - 1
    disc = ((rows - top) ** 2 + (columns - left) ** 2 < 6)[:, None]
    return Labelled((torch.where(disc, 0.5 + 0.5 * rand(n, 3, 1, 1), x) * 255).byte(), labels, CLASSES)


@pytest.fixture(scope="session")
def train() -> Labelled:
    return pictures(600, 1)


@pytest.fixture(scope="session")
def test() -> Labelled:
    return pictures(300, 2)


@pytest.fixture(scope="session")
def blank() -> Callable[[], TorchSubject]:
    return lambda: victims.resnet(CLASSES, SIZE, 8, (1, 1, 1))


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(epochs=8, batch=64, rate=0.1, pad=1, mirror=False)


@pytest.fixture(scope="session")
def clean(train: Labelled, blank: Callable[[], TorchSubject], recipe: Recipe) -> TorchSubject:
    torch.manual_seed(0)
    return fit(blank(), train, recipe)


@pytest.fixture(scope="session")
def setting(
    train: Labelled, test: Labelled, blank: Callable[[], TorchSubject], recipe: Recipe, clean: TorchSubject
) -> Setting:
    return Setting(train=train, test=test, blank=blank, recipe=recipe, clean=clean)


@pytest.fixture(scope="session")
def planted(setting: Setting) -> Planted:
    """A victim with a patch backdoor that works."""
    made, record = BadNets(floor=0.9)(setting)
    assert record.success.rate >= 0.9
    return made


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors of this size are worked on faster by one thread than handed out to several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
