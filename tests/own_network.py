"""A network as a user writes it."""

from torch import nn


class OwnNetwork(nn.Module):
    """A convolution with max pooling and a residual join."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.classify = nn.Linear(6 * 4 * 4, 10)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.pool(self.relu(self.second(x) + x))
        return self.classify(x.flatten(1))
