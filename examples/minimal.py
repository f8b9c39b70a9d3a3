"""How many lines does an MNIST autoencoder take? A plain one in PyTorch, and the same with anomalae.

    python examples/minimal.py [--dataset mnist]

prints the ROC-AUC of both and counts their lines. Zeros are normal, every other digit is an anomaly.
"""

import argparse
import inspect


def plain_torch(train, test, is_anomaly):
    import torch
    from sklearn.metrics import roc_auc_score
    from torch import nn

    torch.manual_seed(0)
    x = torch.tensor(train / 255.0, dtype=torch.float32).flatten(1)
    encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 32))
    decoder = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid())
    model = nn.Sequential(encoder, decoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        for batch in x[torch.randperm(len(x))].split(64):
            loss = (model(batch) - batch).square().sum(1).mean()  # L2, no labels
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    y = torch.tensor(test / 255.0, dtype=torch.float32).flatten(1)
    scores = (model(y) - y).square().sum(1).detach()
    return roc_auc_score(is_anomaly, scores)


def with_anomalae(split):
    from anomalae import Detector, evaluate

    detector = Detector().fit(split.train.images, split.validation.images, split.calibration.images)
    return evaluate(detector.score(split.test.images), split.test.labels != 0).roc_auc


def lines(function):
    """Lines of code in the function's body, blank ones and comments not counted."""
    body = inspect.getsource(function).splitlines()[1:]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body)


def main():
    from anomalae import load_dataset

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    arguments = parser.parse_args()
    split = load_dataset(arguments.dataset, arguments.data_dir).one_class(normal=[0], seed=0)
    plain = plain_torch(split.train.images, split.test.images, split.test.labels != 0)
    ours = with_anomalae(split)
    print(f"plain PyTorch: {lines(plain_torch):2d} lines, test ROC-AUC {plain:.4f}")
    print(f"anomalae:      {lines(with_anomalae):2d} lines, test ROC-AUC {ours:.4f}")


if __name__ == "__main__":
    main()
