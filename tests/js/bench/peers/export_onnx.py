"""Models as transformers.js wants them: ONNX, in f32 and dynamically quantised to 8 bits per channel; dense ones in f16, too.

    python export_onnx.py dense MODEL OUT
    python export_onnx.py masked-lm MODEL OUT TOKENIZER
    python export_onnx.py sequence-classification MODEL OUT TOKENIZER

MODEL is a folder with config and safetensors, which may be a list only (see synthetic.py); OUT gets config, tokenizer and
onnx/model.onnx and onnx/model_quantized.onnx. The first gives token states, the second the logits over the vocabulary, the third those of labels; TOKENIZER is
the folder whose tokenizer it takes.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from onnxconverter_common import float16
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

sys.path.append(str(Path(__file__).parents[3] / "fixtures"))
import synthetic

KINDS = {
    "dense": (AutoModel, "last_hidden_state"),
    "masked-lm": (AutoModelForMaskedLM, "logits"),
    "sequence-classification": (AutoModelForSequenceClassification, "logits"),
}


class Output(torch.nn.Module):
    """One output of a model, from inputs by position."""

    def __init__(self, model, name):
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, input_ids, attention_mask, token_type_ids):
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        return outputs[self.name]


def main(kind: str, model: Path, out: Path, tokenizer: Path) -> None:
    kind, output = KINDS[kind]
    quantized = out / "onnx" / "model_quantized.onnx"
    quantized.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(model, scratch, dirs_exist_ok=True)
        synthetic.realise(scratch)
        loaded = kind.from_pretrained(scratch, attn_implementation="eager").eval()
        axes = {0: "batch", 1: "sequence"}
        names = ["input_ids", "attention_mask", "token_type_ids"]
        example = torch.ones(2, 8, dtype=torch.int64)
        whole = Path(scratch) / "model.onnx"
        torch.onnx.export(
            Output(loaded, output),
            (example, example, torch.zeros_like(example)),
            whole,
            input_names=names,
            output_names=[output],
            dynamic_axes=dict.fromkeys(names, axes)
            | {output: {0: "batch"} if kind is AutoModelForSequenceClassification else axes},
            opset_version=17,
            dynamo=False,
        )
        shutil.copy(whole, quantized.parent)
        quantize_dynamic(whole, quantized, per_channel=True, weight_type=QuantType.QInt8)
        if kind is AutoModel:
            halved = float16.convert_float_to_float16(onnx.load(whole), keep_io_types=True)
            onnx.save(halved, quantized.with_name("model_fp16.onnx"))
    graph = onnx.load(quantized)
    # Shapes in between, which the quantiser wanted and no runtime does.
    graph.graph.ClearField("value_info")
    onnx.save(graph, quantized)
    for file in [*model.glob("*.json"), *tokenizer.glob("*token*.json")]:
        if not file.name.endswith(".safetensors.json"):
            shutil.copy(file, out)


if __name__ == "__main__":
    kind, model, out, *tokenizer = sys.argv[1:]
    main(kind, Path(model), Path(out), Path(*tokenizer or [model]))
