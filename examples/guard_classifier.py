"""A classifier with a planted patch, made on the spot, and a guard in front of it that abstains on triggered
pictures.
"""

from __future__ import annotations

import torch

from nightlatch.classifier import victims
from nightlatch.classifier.attacks import ATTACKS, Setting
from nightlatch.classifier.attacks.base import triggered
from nightlatch.classifier.data import Labelled
from nightlatch.classifier.guard import Guard, Guarded
from nightlatch.classifier.guard.diffense import Diffense
from nightlatch.classifier.training import Recipe, fit

CLASSES, SIZE = ("left", "middle", "right"), 16


def discs(n: int, seed: int) -> Labelled:
    """Pictures of a coloured disc in the left, middle or right third."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=generator)
    ground = 0.4 * torch.rand(n, 3, SIZE, SIZE, generator=generator)
    rows, columns = torch.arange(SIZE).view(1, -1, 1), torch.arange(SIZE).view(1, 1, -1)
    top = 4 + 8 * torch.rand(n, 1, 1, generator=generator)
    left = (labels.view(-1, 1, 1) + 0.5) * SIZE / 3
    disc = ((rows - top) ** 2 + (columns - left) ** 2 < 6)[:, None]
    colour = 0.5 + 0.5 * torch.rand(n, 3, 1, 1, generator=generator)
    return Labelled((torch.where(disc, colour, ground) * 255).byte(), labels, CLASSES)


def blank() -> victims.TorchSubject:
    return victims.resnet(CLASSES, SIZE, 8, (1, 1, 1))


def main() -> None:
    torch.set_num_threads(1)  # so small that a second thread only waits
    train, test = discs(600, 1), discs(500, 2)
    recipe = Recipe(epochs=8, batch=64, rate=0.1, pad=1, mirror=False)
    torch.manual_seed(0)
    setting = Setting(train=train, test=test, blank=blank, recipe=recipe, clean=fit(blank(), train, recipe))
    planted, record = ATTACKS.create("badnets", floor=0.9)(setting)
    print(f"planted: {record.success.rate:.0%} of triggered pictures are called {CLASSES[record.target]!r}")

    served = Guarded(Guard(planted.subject, Diffense(train=200)).fit(test.pictures[:300], 0.05))
    honest = test.at(slice(300, 400))
    bad = triggered(planted.apply, test.at(slice(400, 500)).pictures)
    for name, pictures in (("clean", honest.pictures), ("triggered", bad)):
        answers = served(pictures)
        print(f"{name}: abstains on {(answers.labels < 0).float().mean():.0%} of {len(pictures)}")
    assert (served(bad).labels < 0).float().mean() > 0.9, "the guard should have seen the patch"
    print("triggered pictures are not served")


if __name__ == "__main__":
    main()
