//! The forward pass against candle-transformers' BERT, on real weights.

use crate::common::{cosine, inputs, largest_difference, load, minilm, texts};
use candle_core::{D, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use gossamer::{EncodeOptions, WeightDtype};

#[test]
fn f32_equals_candle() {
    let folder = minilm();
    let embedder = load(&folder, WeightDtype::F32);
    let config: Config =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu).unwrap();
    let bert = BertModel::load(weights, &config).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();

    let texts: Vec<_> = texts("texts.json").into_iter().step_by(6).collect();
    let ours = embedder
        .encode(inputs(&texts), &EncodeOptions::default())
        .unwrap();
    for ((name, text), ours) in texts.iter().zip(ours.data.chunks_exact(ours.dimensions)) {
        let mut tokenizer = tokenizer.clone();
        let limit = tokenizers::TruncationParams {
            max_length: 256,
            ..Default::default()
        };
        tokenizer
            .with_padding(None)
            .with_truncation(Some(limit))
            .unwrap();
        let encoding = tokenizer.encode(text.as_str(), true).unwrap();
        let ids = Tensor::new(vec![encoding.get_ids().to_vec()], &Device::Cpu).unwrap();
        let states = bert
            .forward(&ids, &ids.zeros_like().unwrap(), None)
            .unwrap();
        let mean = states.mean(1).unwrap();
        let length = mean
            .sqr()
            .unwrap()
            .sum_keepdim(D::Minus1)
            .unwrap()
            .sqrt()
            .unwrap();
        let theirs: Vec<f32> = mean
            .broadcast_div(&length)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec1()
            .unwrap();
        let (cosine, difference) = (cosine(ours, &theirs), largest_difference(ours, &theirs));
        assert!(
            cosine >= 0.99999 && difference <= 2e-5,
            "{name}: cosine {cosine}, difference {difference}"
        );
    }
}
