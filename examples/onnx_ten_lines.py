"""An exported run in plain onnxruntime: `python onnx_ten_lines.py model.onnx IMAGES.npy ALPHA`.

Images are uint8 (N, 28, 28), light ink on a dark ground. Without `alpha` among the inputs it is that of the export.
"""

import sys

import numpy as np
import onnxruntime


def main(path: str, images: str, alpha: str) -> None:
    onnxruntime.set_default_logger_severity(3)  # else it warns that alpha may be given
    model = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {"images": np.load(images), "alpha": np.array(alpha, np.float64)}
    verdicts = model.run(["score", "p_value", "flagged"], inputs)
    for score, p_value, flagged in zip(*verdicts, strict=True):
        print(float(score), float(p_value), bool(flagged))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__.splitlines()[0])
