"""Time per text of onnxruntime itself, on one thread, with the model that transformers.js runs.

    python native.py MODEL < texts.json

Prints the median of seven rounds in milliseconds.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import onnxruntime
from transformers import AutoTokenizer

ROUNDS = 7

model = Path(sys.argv[1])
texts = json.load(sys.stdin)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    model / "onnx/model_quantized.onnx", options, providers=["CPUExecutionProvider"]
)
names = {value.name for value in session.get_inputs()}
tokenizer = AutoTokenizer.from_pretrained(model)


def embed():
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    states = session.run(None, {name: value for name, value in inputs.items() if name in names})[0]
    mask = inputs["attention_mask"][..., None]
    vectors = (states * mask).sum(1) / mask.sum(1)
    return vectors / (vectors**2).sum(1, keepdims=True) ** 0.5


embed()
times = []
for _ in range(ROUNDS):
    start = time.perf_counter()
    embed()
    times.append(time.perf_counter() - start)
print(1000 * statistics.median(times) / len(texts))
