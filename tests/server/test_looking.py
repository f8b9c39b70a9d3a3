"""What `/look` takes for granted: what is left empty, and which of several images it is about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from anomalae.server.app import Served, application
from tests.server.test_server import npy

HEAD = {"content-type": "application/octet-stream"}
EMPTY = ("run", "score", "calibration", "polarity")


@pytest.fixture(scope="module")
def client(small) -> Iterator[TestClient]:
    with TestClient(application(Served({"small": small}), hosts=["testserver"])) as client:
        yield client


def test_what_is_empty_is_as_if_it_were_not_there(client, images):
    asked = {"content": npy(images[:2]), "headers": HEAD}
    plain = client.post("/look", **asked)
    assert plain.status_code == 200
    for names in [[name] for name in EMPTY] + [EMPTY]:
        assert client.post("/look", **asked, params=dict.fromkeys(names, "")).json() == plain.json()
    # A rule that is named is another matter.
    other = client.post("/look", **asked, params={"score": "mse"}).json()
    assert other != plain.json()
    assert client.post("/look", **asked, params={"score": "nonsense"}).status_code == 422


def test_the_first_of_several_images_is_looked_at_and_their_number_told(client, images):
    found = client.post("/look", content=npy(images[5]), headers=HEAD).json()
    assert found["n_images"] == 1
    several = client.post("/look", content=npy(images[5:9]), headers=HEAD).json()
    assert several == {**found, "n_images": 4}
    odd = np.concatenate([images[5:7], images[5:6] // 2])
    assert client.post("/look", content=npy(odd), headers=HEAD).json() == {**found, "n_images": 3}
