"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_IMAGES = (1, 2, 4, 8, 16, 64, 256, 1024, 4096, 16384)


class Meters:
    """Counters of one server.

    paths: those that are told apart; requests for any other count as `other`.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self.registry = registry = CollectorRegistry()
        self.answers = Counter(
            "anomalae_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.judged = Counter("anomalae_images", "Images judged.", ["run", "verdict"], registry=registry)
        self.seconds = Histogram(
            "anomalae_score_seconds", "Seconds from upload to verdicts.", buckets=_SECONDS, registry=registry
        )
        self.batch = Histogram(
            "anomalae_batch_images", "Images scored together.", buckets=_IMAGES, registry=registry
        )
        self.under_way = Gauge("anomalae_requests_under_way", "Requests under way.", registry=registry)

    def answered(self, path: str, status: int) -> None:
        """Count an answer."""
        self.answers.labels(path if path in self.paths else "other", str(status)).inc()

    def text(self) -> bytes:
        """Return all of them in the text format of Prometheus."""
        return generate_latest(self.registry)
