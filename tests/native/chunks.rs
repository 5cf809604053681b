//! Long texts in chunks, natively: what the package's own cases do not reach.

use crate::common::{fixture, load};
use gossamer::{
    ChunkOptions, EncodeOptions, Input, OutputDtype, TextStep, TokenHead, TokenOptions, WeightDtype,
};

const TEXT: &str = "The cat sat on the mat. \"Was the dog there?\" said the cat. It was not there.";

/// The mean of some rows, of length 1.
fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    sum.iter().map(|x| x / length).collect()
}

#[test]
fn late_chunks_are_means_of_states_with_a_prompt_in_front() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let prompt = || Some("query: ".to_owned());
    let options = EncodeOptions {
        prompt: prompt(),
        ..EncodeOptions::default()
    };
    let late = ChunkOptions {
        size: Some(14),
        overlap: 3,
        late: true,
    };
    let text = &TEXT[..58];
    let output = embedder
        .encode_chunks(vec![text.into(), "".into()], late, &options)
        .unwrap();
    let [chunks, none] = &output.chunks[..] else {
        panic!("{:?}", output.chunks)
    };
    assert!(chunks.len() > 1 && none.is_empty());
    let states = TokenOptions {
        head: Some(TokenHead::States),
        prompt: prompt(),
        ..TokenOptions::default()
    };
    let states = embedder.encode_tokens(vec![text.into()], &states).unwrap();
    assert!(!states.truncated[0]);
    let states = &states.token_vectors.unwrap()[0];
    let width = states.dimensions;
    let all = states.data.len() / width;
    // [CLS] and the prompt.
    let lead = 1 + embedder.tokenize("query: ", false).unwrap().len();
    let vectors = output.dense.unwrap();
    assert_eq!(vectors.len(), chunks.len() * width);
    for (at, (chunk, vector)) in chunks.iter().zip(vectors.chunks_exact(width)).enumerate() {
        let first = if at == 0 {
            0
        } else {
            lead + chunk.tokens.start
        };
        let last = if at + 1 == chunks.len() {
            all
        } else {
            lead + chunk.tokens.end
        };
        assert_eq!(output.tokens[at] as usize, last - first);
        let expected = mean(&states.data[first * width..last * width], width);
        for (x, y) in vector.iter().zip(&expected) {
            assert!((x - y).abs() < 2e-6, "chunk {at}: {x} {y}");
        }
        let range = chunk.utf16.clone();
        let units: Vec<u16> = text.encode_utf16().collect();
        assert_eq!(
            String::from_utf16(&units[range]).unwrap(),
            text[chunk.bytes.clone()]
        );
    }
}

#[test]
fn whole_texts_and_late_chunks_share_no_pass() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let texts = || vec![Input::from(TEXT); 3];
    let options = EncodeOptions {
        output: OutputDtype::Int8,
        ..EncodeOptions::default()
    };
    let late = ChunkOptions {
        size: Some(12),
        late: true,
        ..ChunkOptions::default()
    };
    let expected = (
        embedder.encode(texts(), &options).unwrap(),
        embedder.encode_chunks(texts(), late, &options).unwrap(),
    );
    let mut whole = embedder.start(texts(), &options).unwrap();
    let mut chunks = embedder.start_chunks(texts(), late, &options).unwrap();
    while !whole.step_with(&embedder, &mut [&mut chunks]).unwrap() {}
    while !chunks.step(&embedder).unwrap() {}
    let chunks = chunks.finish();
    assert_eq!(whole.finish().into_dense(), expected.0);
    assert_eq!(chunks, expected.1);
    let quantized = chunks.quantized.unwrap();
    let rows: usize = chunks.chunks.iter().map(Vec::len).sum();
    assert_eq!(quantized.scales.len(), rows);
    assert_eq!(quantized.codes.len(), rows * 48);
}

/// However a text falls into steps, its tokens and chunks are the same, and no step takes the whole
/// of a long text.
#[test]
fn tokens_and_chunks_of_long_texts_come_in_bounded_steps() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let quotes = "\u{201d}".repeat(20_000);
    let texts = [TEXT.repeat(2_000), quotes, String::new(), "one".to_owned()];
    let options = EncodeOptions::default();
    let chunks = ChunkOptions {
        size: Some(20),
        overlap: 2,
        late: false,
    };
    for step in [1 << 12, 1 << 15] {
        let mut tokens = vec![Vec::new()];
        let mut run = embedder.start_tokenize(texts.to_vec(), true);
        let mut steps = 0;
        while let TextStep::Items(items, is_end) = run.step(&embedder, &mut step.clone()).unwrap() {
            steps += 1;
            assert!(items.len() <= step, "a step gave {} tokens", items.len());
            tokens.last_mut().unwrap().extend(items);
            if is_end {
                tokens.push(Vec::new());
            }
        }
        assert!(steps > texts[0].len() / step);
        for (text, tokens) in texts.iter().zip(&tokens) {
            assert_eq!(&embedder.tokenize(text, true).unwrap(), tokens);
        }

        let mut found = vec![Vec::new()];
        let mut run = embedder
            .start_chunk(texts.to_vec(), chunks, &options)
            .unwrap();
        while let TextStep::Items(items, is_end) = run.step(&embedder, &mut step.clone()).unwrap() {
            found.last_mut().unwrap().extend(items);
            if is_end {
                found.push(Vec::new());
            }
        }
        for (text, found) in texts.iter().zip(&found) {
            assert_eq!(&embedder.chunk(text, chunks, &options).unwrap(), found);
        }
    }
}

/// While a long text is being split, a short one beside it does not wait.
#[test]
fn short_texts_do_not_wait_for_a_long_one_to_be_split() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::F32);
    let options = EncodeOptions::default();
    let chunks = ChunkOptions::default();
    let text = vec![TEXT.repeat(10_000).as_str().into()];
    let mut long = embedder.start_chunks(text, chunks, &options).unwrap();
    let mut short = embedder.start(vec![TEXT.into()], &options).unwrap();
    assert!(!long.step_with(&embedder, &mut [&mut short]).unwrap());
    assert!(short.is_done());
    assert!(!long.step(&embedder).unwrap());
    let own = embedder.encode(vec![TEXT.into()], &options).unwrap();
    assert_eq!(short.finish().into_dense(), own);
}
