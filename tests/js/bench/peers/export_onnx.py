"""all-MiniLM-L6-v2 as transformers.js wants it: ONNX, dynamically quantised to 8 bits per channel.

    python export_onnx.py MODEL OUT

MODEL is a folder with the model's safetensors, OUT gets config, tokenizer and onnx/model_quantized.onnx.
"""

import shutil
import sys
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel


class States(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        return states.last_hidden_state


def main(model: Path, out: Path) -> None:
    onnx = out / "onnx"
    onnx.mkdir(parents=True, exist_ok=True)
    states = States(AutoModel.from_pretrained(model, attn_implementation="eager").eval())
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {0: "batch", 1: "sequence"}
    example = torch.ones(2, 8, dtype=torch.int64)
    torch.onnx.export(
        states,
        (example, example, torch.zeros_like(example)),
        onnx / "model.onnx",
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], axes),
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        onnx / "model.onnx",
        onnx / "model_quantized.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    (onnx / "model.onnx").unlink()
    for file in model.glob("*.json"):
        shutil.copy(file, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
