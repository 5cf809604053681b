//! Published models in their exact configuration, under their real tensor names and dtypes: layers
//! of real shape, fewer of them where all would take gigabytes, filled with random weights.

use crate::common::synthetic::{Row, values};
use crate::common::{files, fixture, inputs, minilm, texts};
use gossamer::{
    Cpu, Embedder, EncodeOptions, Input, LoadOptions, Loader, MultiOptions, SparseOptions,
    WeightDtype,
};
use serde_json::{Value, json};

/// Tensors of one weight file.
struct Weights {
    path: &'static str,
    dtype: &'static str,
    rows: Vec<Row>,
}

impl Weights {
    fn new(path: &'static str, dtype: &'static str) -> Self {
        Self {
            path,
            dtype,
            rows: Vec::new(),
        }
    }

    fn tensor(&mut self, name: String, shape: &[usize]) {
        let (mean, spread) = match shape {
            [_] if name.ends_with("weight") => (1.0, 0.1),
            _ => (0.0, 0.05),
        };
        self.rows.push((name, shape.to_vec(), mean, spread));
    }

    /// A weight `[out, in]` and, unless `out` only is wanted, a bias.
    fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        self.tensor(format!("{name}.weight"), &[out, input]);
        if bias {
            self.tensor(format!("{name}.bias"), &[out]);
        }
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.tensor(format!("{name}.weight"), &[width]);
        self.tensor(format!("{name}.bias"), &[width]);
    }

    /// BERT and XLM-RoBERTa.
    fn bert(&mut self, prefix: &str, config: &Value, pooler: bool) {
        let [hidden, ffn, layers] = sizes(
            config,
            ["hidden_size", "intermediate_size", "num_hidden_layers"],
        );
        let rows = sizes(
            config,
            ["vocab_size", "max_position_embeddings", "type_vocab_size"],
        );
        for (table, rows) in ["word", "position", "token_type"].into_iter().zip(rows) {
            self.tensor(
                format!("{prefix}embeddings.{table}_embeddings.weight"),
                &[rows, hidden],
            );
        }
        self.norm(&format!("{prefix}embeddings.LayerNorm"), hidden);
        for i in 0..layers {
            let layer = format!("{prefix}encoder.layer.{i}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                self.linear(&format!("{layer}.attention.{part}"), hidden, hidden, true);
            }
            self.norm(&format!("{layer}.attention.output.LayerNorm"), hidden);
            self.linear(&format!("{layer}.intermediate.dense"), ffn, hidden, true);
            self.linear(&format!("{layer}.output.dense"), hidden, ffn, true);
            self.norm(&format!("{layer}.output.LayerNorm"), hidden);
        }
        if pooler {
            self.linear(&format!("{prefix}pooler.dense"), hidden, hidden, true);
        }
    }

    fn bert_mlm(&mut self, config: &Value) {
        self.bert("bert.", config, false);
        let [hidden, vocab] = sizes(config, ["hidden_size", "vocab_size"]);
        self.tensor("cls.predictions.bias".to_owned(), &[vocab]);
        self.linear("cls.predictions.transform.dense", hidden, hidden, true);
        self.norm("cls.predictions.transform.LayerNorm", hidden);
    }

    fn distilbert_mlm(&mut self, config: &Value) {
        let [hidden, ffn, layers] = sizes(config, ["dim", "hidden_dim", "n_layers"]);
        let [vocab, positions] = sizes(config, ["vocab_size", "max_position_embeddings"]);
        self.tensor(
            "distilbert.embeddings.word_embeddings.weight".to_owned(),
            &[vocab, hidden],
        );
        self.tensor(
            "distilbert.embeddings.position_embeddings.weight".to_owned(),
            &[positions, hidden],
        );
        self.norm("distilbert.embeddings.LayerNorm", hidden);
        for i in 0..layers {
            let layer = format!("distilbert.transformer.layer.{i}");
            for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
                self.linear(&format!("{layer}.attention.{part}"), hidden, hidden, true);
            }
            self.norm(&format!("{layer}.sa_layer_norm"), hidden);
            self.linear(&format!("{layer}.ffn.lin1"), ffn, hidden, true);
            self.linear(&format!("{layer}.ffn.lin2"), hidden, ffn, true);
            self.norm(&format!("{layer}.output_layer_norm"), hidden);
        }
        self.linear("vocab_transform", hidden, hidden, true);
        self.norm("vocab_layer_norm", hidden);
        self.tensor("vocab_projector.bias".to_owned(), &[vocab]);
    }

    /// Qwen3 and Mistral, without the `model.` that their generating relatives have.
    fn decoder(&mut self, config: &Value, head: usize, head_norms: bool) {
        let [hidden, ffn, layers] = sizes(
            config,
            ["hidden_size", "intermediate_size", "num_hidden_layers"],
        );
        let [heads, kv_heads, vocab] = sizes(
            config,
            ["num_attention_heads", "num_key_value_heads", "vocab_size"],
        );
        self.tensor("embed_tokens.weight".to_owned(), &[vocab, hidden]);
        for i in 0..layers {
            let layer = format!("layers.{i}");
            self.linear(
                &format!("{layer}.self_attn.q_proj"),
                heads * head,
                hidden,
                false,
            );
            self.linear(
                &format!("{layer}.self_attn.k_proj"),
                kv_heads * head,
                hidden,
                false,
            );
            self.linear(
                &format!("{layer}.self_attn.v_proj"),
                kv_heads * head,
                hidden,
                false,
            );
            self.linear(
                &format!("{layer}.self_attn.o_proj"),
                hidden,
                heads * head,
                false,
            );
            if head_norms {
                self.tensor(format!("{layer}.self_attn.q_norm.weight"), &[head]);
                self.tensor(format!("{layer}.self_attn.k_norm.weight"), &[head]);
            }
            for part in ["gate_proj", "up_proj"] {
                self.linear(&format!("{layer}.mlp.{part}"), ffn, hidden, false);
            }
            self.linear(&format!("{layer}.mlp.down_proj"), hidden, ffn, false);
            self.tensor(format!("{layer}.input_layernorm.weight"), &[hidden]);
            self.tensor(
                format!("{layer}.post_attention_layernorm.weight"),
                &[hidden],
            );
        }
        self.tensor("norm.weight".to_owned(), &[hidden]);
    }

    /// Hands the file over, some megabytes at a time.
    fn stream(&self, mut push: impl FnMut(&[u8])) {
        const CHUNK: usize = 1 << 22;
        let width = if self.dtype == "F32" { 4 } else { 2 };
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (name, shape, ..) in &self.rows {
            // Old exports hold these, as integers.
            let ids = name.ends_with("position_ids");
            let (dtype, width) = if ids { ("I64", 8) } else { (self.dtype, width) };
            let begin = end;
            end += width * shape.iter().product::<usize>();
            let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
            header.insert(name.clone(), entry);
        }
        let header = Value::Object(header).to_string();
        push(&(header.len() as u64).to_le_bytes());
        push(header.as_bytes());
        let mut chunk = Vec::with_capacity(CHUNK + 8);
        for row in &self.rows {
            let ids = row.0.ends_with("position_ids");
            for value in values(row) {
                match self.dtype {
                    _ if ids => chunk.extend_from_slice(&[0; 8]),
                    "F32" => chunk.extend_from_slice(&value.to_le_bytes()),
                    "F16" => chunk.extend_from_slice(&half::f16::from_f32(value).to_le_bytes()),
                    "BF16" => chunk.extend_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
                    other => panic!("no {other} here"),
                }
                if chunk.len() >= CHUNK {
                    push(&chunk);
                    chunk.clear();
                }
            }
        }
        push(&chunk);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream(|chunk| bytes.extend_from_slice(chunk));
        bytes
    }
}

fn sizes<const N: usize>(config: &Value, fields: [&str; N]) -> [usize; N] {
    fields.map(|field| usize::try_from(config[field].as_u64().expect("a size")).unwrap())
}

/// A model's files: small ones by name, and weights.
struct Model {
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    weights: Vec<Weights>,
}

impl Model {
    fn new(name: &'static str, files: Vec<(&'static str, Value)>, weights: Vec<Weights>) -> Self {
        let files = files
            .into_iter()
            .map(|(name, value)| (name, value.to_string().into_bytes()));
        Self {
            name,
            files: files.collect(),
            weights,
        }
    }

    /// With the tokenizer of another model: its entries are fewer, which no config forbids.
    fn tokenizer(mut self, path: &'static str, from: &std::path::Path) -> Self {
        let bytes = std::fs::read(from.join("tokenizer.json")).unwrap();
        self.files.push((path, bytes));
        self
    }

    fn load(&self) -> Embedder<Cpu> {
        let options = LoadOptions {
            model: self.name.to_owned(),
            dtype: Some(WeightDtype::Q8),
            ..LoadOptions::default()
        };
        let mut loader = Loader::new(Cpu::new(), options);
        let small = |name: &str| {
            let file = self.files.iter().find(|(known, _)| *known == name);
            let weights = self.weights.iter().find(|weights| weights.path == name);
            file.map(|(_, bytes)| bytes.clone())
                .or_else(|| weights.map(Weights::bytes))
        };
        while let Some(name) = crate::common::next_weights(&mut loader, small).unwrap() {
            let weights = self
                .weights
                .iter()
                .find(|weights| weights.path == name)
                .expect("the weights are there");
            weights.stream(|chunk| {
                loader.push(chunk).unwrap();
            });
            loader.end().unwrap();
        }
        loader.finish().unwrap()
    }
}

fn st(kind: &str) -> String {
    format!("sentence_transformers.models.{kind}")
}

fn modules(pooling: &str, normalize: bool) -> Vec<(&'static str, Value)> {
    let mut list = vec![
        json!({ "idx": 0, "name": "0", "path": "", "type": st("Transformer") }),
        json!({ "idx": 1, "name": "1", "path": "1_Pooling", "type": st("Pooling") }),
    ];
    if normalize {
        list.push(json!({ "idx": 2, "name": "2", "path": "2_Normalize", "type": st("Normalize") }));
    }
    vec![
        ("modules.json", Value::Array(list)),
        ("1_Pooling/config.json", json!({ pooling: true })),
    ]
}

fn bert_base() -> Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
        "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute", "hidden_dropout_prob": 0.1, "use_cache": true,
    })
}

fn distilbert() -> Value {
    json!({
        "architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert", "vocab_size": 30522, "dim": 768,
        "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "activation": "gelu", "max_position_embeddings": 512,
        "sinusoidal_pos_embds": false, "tie_weights_": true, "pad_token_id": 0, "dropout": 0.1,
    })
}

fn bert_tiny() -> Value {
    json!({
        "architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512, "hidden_act": "gelu",
        "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    })
}

fn with(mut config: Value, changes: &Value) -> Value {
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    config
}

#[track_caller]
fn assert_dense(
    model: &Model,
    dimensions: usize,
    max_tokens: usize,
    normalized: bool,
) -> Embedder<Cpu> {
    let embedder = model.load();
    assert_eq!(
        (
            embedder.dimensions(),
            embedder.info().max_tokens,
            embedder.normalized()
        ),
        (dimensions, max_tokens, normalized),
        "{}",
        model.name
    );
    let batch = embedder
        .encode(vec![Input::from("the cat sat")], &EncodeOptions::default())
        .unwrap();
    assert_eq!(batch.data.len(), dimensions);
    assert!(batch.data.iter().any(|x| *x != 0.0));
    embedder
}

#[track_caller]
fn assert_sparse(embedder: &Embedder<Cpu>, task: Option<&str>) {
    let options = SparseOptions {
        task: task.map(str::to_owned),
        labels: true,
        ..SparseOptions::default()
    };
    let batch = embedder
        .encode_sparse(vec![Input::from("the cat sat")], &options)
        .unwrap();
    let vector = &batch.vectors[0];
    assert_eq!(embedder.dimensions(), 30522);
    assert!(
        !vector.indices.is_empty() && vector.labels.as_ref().unwrap().len() == vector.indices.len()
    );
}

/// sentence-transformers/all-MiniLM-L6-v2: the real file.
#[test]
fn all_minilm_l6_v2() {
    let embedder = crate::common::load(&minilm(), WeightDtype::Q8);
    assert_eq!(
        (
            embedder.dimensions(),
            embedder.info().max_tokens,
            embedder.normalized()
        ),
        (384, 256, true)
    );
    assert_eq!(embedder.info().parameters, 22_713_216 - 384 * 385);
}

/// thenlper/gte-base: half precision, and an integer tensor that the model does not use.
#[test]
fn gte_base() {
    let config = bert_base();
    let mut weights = Weights::new("model.safetensors", "F16");
    weights.tensor("embeddings.position_ids".to_owned(), &[1, 512]);
    weights.bert("", &config, true);
    let mut files = modules("pooling_mode_mean_tokens", true);
    files.push(("config.json", config));
    files.push((
        "sentence_bert_config.json",
        json!({ "max_seq_length": 512, "do_lower_case": false }),
    ));
    let model = Model::new("thenlper/gte-base", files, vec![weights])
        .tokenizer("tokenizer.json", &minilm());
    let embedder = assert_dense(&model, 768, 512, true);
    assert_eq!(embedder.info().parameters, 109_482_240 - 768 * 769);
}

fn xlm_roberta(changes: &Value) -> Value {
    let config = json!({
        "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "vocab_size": 250_002,
        "hidden_act": "gelu", "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0,
        "eos_token_id": 2, "position_embedding_type": "absolute", "output_past": true,
    });
    with(config, changes)
}

/// sentence-transformers/paraphrase-multilingual-mpnet-base-v2, with 2 of its 12 layers.
#[test]
fn paraphrase_multilingual_mpnet_base_v2() {
    let config = xlm_roberta(&json!({
        "hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 3072,
        "max_position_embeddings": 514,
    }));
    let mut weights = Weights::new("model.safetensors", "F32");
    weights.tensor("embeddings.position_ids".to_owned(), &[1, 514]);
    weights.bert("", &config, true);
    let mut files = modules("pooling_mode_mean_tokens", false);
    files.push(("config.json", config));
    files.push((
        "sentence_bert_config.json",
        json!({ "max_seq_length": 128, "do_lower_case": false }),
    ));
    let model = Model::new(
        "paraphrase-multilingual-mpnet-base-v2",
        files,
        vec![weights],
    );
    assert_dense(
        &model.tokenizer("tokenizer.json", &fixture("tiny-m3")),
        768,
        128,
        false,
    );
}

/// BAAI/bge-m3 with its two more heads, and 2 of its 24 layers.
#[test]
fn bge_m3() {
    let config = xlm_roberta(&json!({
        "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 4096,
        "max_position_embeddings": 8194,
    }));
    let mut weights = Weights::new("model.safetensors", "F16");
    weights.bert("", &config, true);
    // A vector in some copies, a matrix of one row in others.
    let mut lexical = Weights::new("sparse_linear.safetensors", "F32");
    lexical.tensor("weight".to_owned(), &[1024]);
    lexical.tensor("bias".to_owned(), &[1]);
    let mut colbert = Weights::new("colbert_linear.safetensors", "F16");
    colbert.tensor("weight".to_owned(), &[1024, 1024]);
    colbert.tensor("bias".to_owned(), &[1024]);
    let mut files = modules("pooling_mode_cls_token", true);
    files.push(("config.json", config));
    files.push((
        "sentence_bert_config.json",
        json!({ "max_seq_length": 8192, "do_lower_case": false }),
    ));
    let model = Model::new("BAAI/bge-m3", files, vec![weights, lexical, colbert]);
    let embedder = assert_dense(
        &model.tokenizer("tokenizer.json", &fixture("tiny-m3")),
        1024,
        8192,
        true,
    );
    let all = MultiOptions {
        dense: true,
        sparse: true,
        tokens: true,
        ..MultiOptions::default()
    };
    let output = embedder
        .encode_multi(vec![Input::from("the cat sat")], &all)
        .unwrap();
    assert_eq!(output.sparse.unwrap().len(), 1);
    let vectors = &output.token_vectors.unwrap()[0];
    assert_eq!((vectors.dimensions, vectors.data.len() % 1024), (1024, 0));
}

/// Qwen/Qwen3-Embedding-0.6B with 2 of its 28 layers.
#[test]
fn qwen3_embedding() {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151_669, "hidden_size": 1024,
        "num_hidden_layers": 2, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 3072, "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000, "rope_scaling": null, "attention_bias": false, "use_sliding_window": false,
        "sliding_window": null, "max_window_layers": 28, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "bos_token_id": 151_643, "eos_token_id": 151_643,
    });
    let mut weights = Weights::new("model.safetensors", "BF16");
    weights.decoder(&config, 128, true);
    let mut files = modules("pooling_mode_lasttoken", true);
    files.push(("config.json", config));
    files.push((
        "config_sentence_transformers.json",
        json!({
            "prompts": {
                "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
                "document": "",
            },
            "default_prompt_name": null, "similarity_fn_name": "cosine",
        }),
    ));
    let model = Model::new("Qwen/Qwen3-Embedding-0.6B", files, vec![weights]);
    let embedder = assert_dense(
        &model.tokenizer("tokenizer.json", &fixture("tiny-qwen3")),
        1024,
        32768,
        true,
    );
    let template = embedder.info().instruction_template.as_deref();
    assert_eq!(template, Some("Instruct: {}\nQuery:"));
    let short = EncodeOptions {
        dimensions: Some(32),
        ..EncodeOptions::default()
    };
    assert_eq!(
        embedder
            .encode(vec![Input::from("a")], &short)
            .unwrap()
            .data
            .len(),
        32
    );
}

/// intfloat/e5-mistral-7b-instruct with 1 of its 32 layers.
#[test]
fn e5_mistral_7b_instruct() {
    let config = json!({
        "architectures": ["MistralModel"], "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
        "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "float16", "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 2, "use_cache": false,
    });
    let mut weights = Weights::new("model.safetensors", "F16");
    weights.decoder(&config, 128, false);
    let mut files = modules("pooling_mode_lasttoken", true);
    files.push(("config.json", config));
    files.push((
        "sentence_bert_config.json",
        json!({ "max_seq_length": 4096, "do_lower_case": false }),
    ));
    files.push((
        "tokenizer_config.json",
        json!({ "add_eos_token": true, "eos_token": "</s>" }),
    ));
    let model = Model::new("intfloat/e5-mistral-7b-instruct", files, vec![weights]);
    let embedder = assert_dense(
        &model.tokenizer("tokenizer.json", &fixture("tiny-mistral")),
        4096,
        4096,
        true,
    );
    let tokens = embedder.tokenize("the cat", true).unwrap();
    assert_eq!(tokens.last().unwrap().text, "</s>");
    let template = embedder.info().instruction_template.as_deref();
    assert_eq!(template, Some("Instruct: {}\nQuery: "));
}

/// `prithivida/Splade_PP_en_v1`: no files of sentence-transformers, a tied decoder.
#[test]
fn splade_pp_en_v1() {
    let adapters = json!({ "architectures": ["BertForMaskedLM"], "adapters": { "adapters": {}, "config_map": {} } });
    let config = with(bert_base(), &adapters);
    let mut weights = Weights::new("model.safetensors", "F32");
    weights.bert_mlm(&config);
    let files = vec![
        ("config.json", config),
        (
            "tokenizer_config.json",
            json!({ "do_lower_case": true, "model_max_length": 512 }),
        ),
    ];
    let model = Model::new("prithivida/Splade_PP_en_v1", files, vec![weights]);
    let embedder = model.tokenizer("tokenizer.json", &minilm()).load();
    assert_eq!(
        (embedder.kind(), embedder.info().parameters),
        ("sparse", 109_514_298)
    );
    assert_sparse(&embedder, None);
}

fn sparse_pooling() -> Value {
    json!({ "pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": null })
}

fn sparse(kind: &str) -> String {
    format!("sentence_transformers.sparse_encoder.models.{kind}")
}

/// The pair of efficient-splade-VI-BT-large: one of the two in the root, the other in a folder.
fn splade_pair(name: &'static str, root: &str, [query, document]: [&'static str; 2]) -> Model {
    let router = json!({
        "types": {
            query: sparse("MLMTransformer"), document: sparse("MLMTransformer"),
            "query_1_SpladePooling": sparse("SpladePooling"), "document_1_SpladePooling": sparse("SpladePooling"),
        },
        "structure": {
            "query": [query, "query_1_SpladePooling"], "document": [document, "document_1_SpladePooling"],
        },
        "parameters": { "default_route": root, "allow_empty_key": true },
    });
    let path = |folder: &str, file: &str| -> &'static str {
        match (folder, file) {
            ("", "config.json") => "config.json",
            ("", "tokenizer.json") => "tokenizer.json",
            ("", _) => "model.safetensors",
            ("query_0_MLMTransformer", "config.json") => "query_0_MLMTransformer/config.json",
            ("query_0_MLMTransformer", "tokenizer.json") => "query_0_MLMTransformer/tokenizer.json",
            ("query_0_MLMTransformer", _) => "query_0_MLMTransformer/model.safetensors",
            (_, "config.json") => "document_0_MLMTransformer/config.json",
            (_, "tokenizer.json") => "document_0_MLMTransformer/tokenizer.json",
            (..) => "document_0_MLMTransformer/model.safetensors",
        }
    };
    let mut small = Weights::new(path(query, "weights"), "F32");
    small.bert_mlm(&bert_tiny());
    let mut large = Weights::new(path(document, "weights"), "F32");
    large.distilbert_mlm(&distilbert());
    let files = vec![
        (
            "modules.json",
            json!([{ "idx": 0, "name": "0", "path": "", "type": st("Router") }]),
        ),
        ("router_config.json", router),
        ("query_1_SpladePooling/config.json", sparse_pooling()),
        ("document_1_SpladePooling/config.json", sparse_pooling()),
        (path(query, "config.json"), bert_tiny()),
        (path(document, "config.json"), distilbert()),
    ];
    Model::new(name, files, vec![small, large])
        .tokenizer(path(query, "tokenizer.json"), &minilm())
        .tokenizer(path(document, "tokenizer.json"), &minilm())
}

#[test]
fn efficient_splade_vi_bt_large_doc() {
    let model = splade_pair(
        "naver/efficient-splade-VI-BT-large-doc",
        "document",
        ["query_0_MLMTransformer", ""],
    );
    let embedder = model.load();
    assert_eq!(
        (embedder.info().family, embedder.kind()),
        ("distilbert", "sparse")
    );
    assert_eq!(embedder.info().parameters, 66_985_530 + 4_416_698);
    for task in [None, Some("query"), Some("document")] {
        assert_sparse(&embedder, task);
    }
}

#[test]
fn efficient_splade_vi_bt_large_query() {
    let model = splade_pair(
        "naver/efficient-splade-VI-BT-large-query",
        "query",
        ["", "document_0_MLMTransformer"],
    );
    let embedder = model.load();
    assert_eq!(
        (embedder.info().family, embedder.kind()),
        ("bert", "sparse")
    );
    for task in [None, Some("query"), Some("document")] {
        assert_sparse(&embedder, task);
    }
}

/// A tiny model whose small files say what those of a published model say: fields that are changed,
/// by file, or null where the model lacks the file; and tensors that its weights have, too.
fn said(base: &str, fields: &Value, tensors: &Value) -> gossamer::Result<Embedder<Cpu>> {
    let folder = fixture(base);
    let patched = |(name, fields): (&String, &Value)| {
        let own = crate::common::read(&folder, name);
        let own = own.map_or_else(|| json!({}), |own| serde_json::from_slice(&own).unwrap());
        let file = (!fields.is_null()).then(|| with(own, fields).to_string().into_bytes());
        (name.clone(), file)
    };
    let mut all: Vec<_> = fields.as_object().unwrap().iter().map(patched).collect();
    let weights = crate::common::read(&folder, "model.safetensors").unwrap();
    let mut own = files::tensors(&weights);
    for (name, shape) in tensors.as_object().unwrap() {
        let sizes = shape
            .as_array()
            .unwrap()
            .iter()
            .map(|size| size.as_u64().unwrap());
        let bytes = vec![0; usize::try_from(4 * sizes.product::<u64>()).unwrap()];
        own.retain(|(known, ..)| known != name);
        own.push((
            name.clone(),
            json!({ "dtype": "F32", "shape": shape }),
            bytes,
        ));
    }
    let weights = files::file(&own.iter().collect::<Vec<_>>());
    all.push(("model.safetensors".to_owned(), Some(weights)));
    let changes: Vec<_> = all
        .iter()
        .map(|(name, file)| (name.as_str(), file.as_deref()))
        .collect();
    crate::common::load_with(&folder, WeightDtype::Q8, &changes, 1 << 20)
}

/// `auto_map` as nomic-bert and jina-bert have it; `before` stands before the files' names.
fn code(before: &str, file: &str, family: &str, masked: &str) -> Value {
    let model = |class: &str| format!("{before}modeling_{file}.{family}{class}");
    json!({
        "AutoConfig": format!("{before}configuration_{file}.{family}Config"), "AutoModel": model("Model"),
        "AutoModelForMaskedLM": model(masked), "AutoModelForTokenClassification": model("ForTokenClassification"),
    })
}

fn nomic_code(before: &str) -> Value {
    code(before, "hf_nomic_bert", "NomicBert", "ForPreTraining")
}

fn jina_code(before: &str) -> Value {
    code(before, "bert", "JinaBert", "ForMaskedLM")
}

/// What published models say besides makes no difference, and none of them is refused for it.
#[test]
fn what_published_models_say_besides_changes_nothing() {
    let nomic = |before: &str| {
        let fields = json!({ "use_flash_attn": true, "rotary_scaling_factor": null, "scale_attn_weights": true });
        json!({ "config.json": with(fields, &json!({ "auto_map": nomic_code(before) })) })
    };
    let pooler = json!({ "pooler.dense.weight": [48, 48], "pooler.dense.bias": [48] });
    let cases = json!([
        ["snowflake-arctic-embed-m", "tiny-bert", {
            "sentence_bert_config.json": { "model_args": { "add_pooling_layer": false } },
        }, {}],
        ["arguments of no effect", "tiny-bert", { "sentence_bert_config.json": {
            "model_args": { "use_cache": false, "cache_dir": null, "local_files_only": true },
            "tokenizer_args": { "cache_dir": null, "local_files_only": true },
        } }, pooler],
        ["LaBSE, without a tokenizer class", "tiny-bert", {
            "tokenizer_config.json": {
                "tokenizer_class": null, "full_tokenizer_file": null, "special_tokens_map_file": null, "never_split": null,
                "do_basic_tokenize": true, "strip_accents": null, "tokenize_chinese_chars": true,
            },
            "config.json": { "directionality": "bidi", "pooler_type": "first_token_transform" },
        }, pooler],
        ["nomic-embed-text-v1.5", "tiny-nomic", nomic("nomic-ai/nomic-bert-2048--"), {}],
        ["nomic-embed-text-v1", "tiny-nomic", nomic(""), {}],
        ["made of nomic-embed-text-v1", "tiny-nomic", nomic("nomic-ai/nomic-embed-text-v1--"), pooler],
        ["made of arctic", "tiny-nomic", nomic("Snowflake/snowflake-arctic-embed-m-long--"), {}],
        ["jina-embeddings-v2-base-en", "tiny-jina", { "config.json": {
            "auto_map": jina_code("jinaai/jina-bert-implementation--"), "architectures": ["JinaBertForMaskedLM"],
            "attn_implementation": null, "emb_pooler": "mean",
        } }, pooler],
        ["Splade_PP_en_v1", "tiny-splade", { "config.json": {
            "adapters": { "adapters": {}, "config_map": {} }, "_name_or_path": "bert-base-uncased",
        } }, { "cls.seq_relationship.weight": [2, 48], "bert.pooler.dense.weight": [48, 48] }],
        ["sentence-t5 with all of T5", "tiny-t5", { "config.json": {
            "is_encoder_decoder": true, "num_decoder_layers": 12, "decoder_start_token_id": 0, "n_positions": 512,
        } }, { "decoder.final_layer_norm.weight": [48], "lm_head.weight": [110, 48] }],
        ["granite-embedding-english-r2", "tiny-modernbert", { "config.json": {
            "position_embedding_type": "absolute", "reference_compile": null, "layer_norm_eps": 1e-5,
        } }, {}],
    ]);
    let list = inputs(&texts("tiny-texts.json"));
    let vectors = |embedder: &Embedder<Cpu>| -> Vec<f32> {
        if embedder.kind() == "sparse" {
            let batch = embedder.encode_sparse(list.clone(), &SparseOptions::default());
            let vectors = batch.unwrap().vectors.into_iter();
            return vectors.flat_map(|vector| vector.values).collect();
        }
        let batch = embedder.encode(list.clone(), &EncodeOptions::default());
        batch.unwrap().data
    };
    for case in cases.as_array().unwrap() {
        let (name, base) = (&case[0], case[1].as_str().unwrap());
        let embedder =
            said(base, &case[2], &case[3]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let plain = crate::common::load(&fixture(base), WeightDtype::Q8);
        assert!(embedder.info().left_out.is_empty(), "{name}");
        assert_eq!(embedder.space_id(), plain.space_id(), "{name}");
        assert_eq!(vectors(&embedder), vectors(&plain), "{name}");
    }
}

/// facebook/contriever: a class of its own that is BERT, and no modules.json.
#[test]
fn contriever() {
    let load = |config: Value| {
        let files = json!({
            "config.json": config, "modules.json": null, "sentence_bert_config.json": null,
            "special_tokens_map.json": null, "tokenizer_config.json": { "do_lower_case": true },
        });
        said(
            "tiny-bert",
            &files,
            &json!({ "pooler.dense.weight": [48, 48] }),
        )
    };
    let embedder = load(json!({ "architectures": ["Contriever"] })).unwrap();
    assert_eq!((embedder.kind(), embedder.normalized()), ("dense", false));
    assert_eq!(embedder.space_id(), load(json!({})).unwrap().space_id());
    for other in ["ContrieverForRanking", "BertEncoderModel"] {
        assert!(
            load(json!({ "architectures": [other] })).is_err(),
            "{other}"
        );
    }
}

/// Files and classes of these names in other repositories are other code.
#[test]
fn code_of_unknown_repositories_is_refused() {
    for (base, map) in [
        ("tiny-nomic", nomic_code("someone/model--")),
        ("tiny-jina", jina_code("jinaai/other--")),
        ("tiny-jina-qk", jina_code("jinaai/other--")),
        ("tiny-bert", nomic_code("nomic-ai/nomic-bert-2048--")),
    ] {
        let error = said(
            base,
            &json!({ "config.json": { "auto_map": map } }),
            &json!({}),
        );
        let error = error.err().expect("it is code of its own").to_string();
        assert!(error.contains("(auto_map)"), "{error}");
    }
}
