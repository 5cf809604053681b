//! Names of modules in llama.cpp and in the families.

/// The modules of an architecture: pairs of llama.cpp's name and the family's.
pub struct Names {
    outer: &'static [(&'static str, &'static str)],
    /// The family's prefix of a layer. The layer's number and a dot follow.
    layer: &'static str,
    /// Modules of a layer.
    inner: &'static [(&'static str, &'static str)],
}

impl Names {
    /// The family's name for a tensor, if it has one.
    pub fn family(&self, tensor: &str) -> Option<String> {
        let (module, parameter) = tensor.rsplit_once('.')?;
        let find = |list: &[(&str, &'static str)], module: &str| {
            let found = list.iter().find(|(theirs, _)| *theirs == module);
            found.map(|(_, ours)| *ours)
        };
        match module
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
        {
            None => Some(format!("{}.{parameter}", find(self.outer, module)?)),
            Some((number, module)) => {
                let (layer, module) = (self.layer, find(self.inner, module)?);
                Some(format!("{layer}{number}.{module}.{parameter}"))
            }
        }
    }
}

const EMBEDDINGS: [(&str, &str); 4] = [
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
];

pub const BERT: Names = Names {
    outer: &EMBEDDINGS,
    layer: "encoder.layer.",
    inner: &[
        ("attn_q", "attention.self.query"),
        ("attn_k", "attention.self.key"),
        ("attn_v", "attention.self.value"),
        ("attn_output", "attention.output.dense"),
        ("attn_output_norm", "attention.output.LayerNorm"),
        ("ffn_up", "intermediate.dense"),
        ("ffn_down", "output.dense"),
        ("layer_output_norm", "output.LayerNorm"),
    ],
};

pub const DISTILBERT: Names = Names {
    outer: &EMBEDDINGS,
    layer: "transformer.layer.",
    inner: &[
        ("attn_q", "attention.q_lin"),
        ("attn_k", "attention.k_lin"),
        ("attn_v", "attention.v_lin"),
        ("attn_output", "attention.out_lin"),
        ("attn_output_norm", "sa_layer_norm"),
        ("ffn_up", "ffn.lin1"),
        ("ffn_down", "ffn.lin2"),
        ("layer_output_norm", "output_layer_norm"),
    ],
};

pub const NOMIC_BERT: Names = Names {
    outer: &[
        ("token_embd", "embeddings.word_embeddings"),
        ("token_types", "embeddings.token_type_embeddings"),
        ("token_embd_norm", "emb_ln"),
    ],
    layer: "encoder.layers.",
    inner: &[
        ("attn_qkv", "attn.Wqkv"),
        ("attn_output", "attn.out_proj"),
        ("attn_output_norm", "norm1"),
        ("ffn_gate", "mlp.fc12"),
        ("ffn_up", "mlp.fc11"),
        ("ffn_down", "mlp.fc2"),
        ("layer_output_norm", "norm2"),
    ],
};

pub const QWEN3: Names = Names {
    outer: &[("token_embd", "embed_tokens"), ("output_norm", "norm")],
    layer: "layers.",
    inner: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};
