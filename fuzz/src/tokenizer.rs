//! Makes a tokenizer.json of choices: every kind of part that the format knows, with parameters
//! that are right, at the edge of what is right, and wrong.

use serde_json::{Map, Value, json};

/// Parts within one sequence.
const MOST_PARTS: usize = 4;

/// Choices that an input makes; zeros at its end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % limit
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// One in sixteen is something else than what belongs there.
    fn or_wrong(&mut self, right: Value) -> Value {
        match self.below(64) {
            60 => Value::Null,
            61 => json!(-1),
            62 => json!("x"),
            63 => json!([]),
            _ => right,
        }
    }

    fn flag(&mut self) -> Value {
        let flag = self.below(2) == 1;
        self.or_wrong(json!(flag))
    }

    fn text(&mut self) -> Value {
        let long = "a".repeat(300);
        let text = self.of(&[
            "a",
            "b",
            "ab",
            " ",
            "##",
            "\u{2581}",
            "[CLS]",
            "",
            "\u{120}",
            "\u{e9}",
            "\u{4e2d}",
            "aaaaaaaaaa",
            "\u{301}",
            "\u{fdfa}",
            "</w>",
            "<0x61>",
            "  ",
            &long,
        ]);
        self.or_wrong(json!(text))
    }

    fn number(&mut self) -> Value {
        let number = self.of(&[0, 1, 2, 3, 5, 7, 8, 100, 4_294_960_000, u64::MAX]);
        self.or_wrong(json!(number))
    }

    fn pattern(&mut self) -> Value {
        if self.below(3) == 0 {
            let text = self.text();
            return self.or_wrong(json!({ "String": text }));
        }
        let parts = self.below(8);
        let pattern: String = (0..parts)
            .map(|_| {
                self.of(&[
                    "a",
                    "b",
                    "\\s",
                    "\\S",
                    "\\p{L}",
                    "\\P{N}",
                    "\\w",
                    "[^\\s\\p{L}]",
                    "[a-z&&[^b]]",
                    "[[:alpha:]]",
                    ".",
                    "(?!\\S)",
                    "(?<=a)",
                    "(?<!\\s)",
                    "+",
                    "*",
                    "?",
                    "{1,3}",
                    "{2,}",
                    "{1000}",
                    "|",
                    "(?:",
                    "(?i:",
                    "(?>",
                    "(",
                    ")",
                    "^",
                    "$",
                    "\\b",
                    "\\z",
                    "\\",
                    "[",
                    "]",
                    "{",
                    "\u{e9}",
                    "+",
                    "*",
                    ")",
                    "\\1",
                    "\\x{110000}",
                ])
            })
            .collect();
        self.or_wrong(json!({ "Regex": pattern }))
    }

    fn part(&mut self, kinds: &[&str], list: &str, depth: usize) -> Value {
        if self.below(8) == 0 {
            return Value::Null;
        }
        if self.below(3) == 0 && depth < 10 {
            let count = self.below(MOST_PARTS);
            let parts: Vec<Value> = (0..count)
                .map(|_| self.part(kinds, list, depth + 1))
                .collect();
            return json!({ "type": "Sequence", list: parts });
        }
        let kind = self.of(kinds);
        let mut part = Map::new();
        part.insert("type".to_owned(), json!(kind));
        for field in fields(kind) {
            if self.below(32) == 31 {
                continue;
            }
            let value = self.field(field);
            part.insert((*field).to_owned(), value);
        }
        Value::Object(part)
    }

    fn field(&mut self, field: &str) -> Value {
        match field {
            "pattern" => self.pattern(),
            "behavior" => {
                let all = [
                    "Removed",
                    "Isolated",
                    "MergedWithPrevious",
                    "MergedWithNext",
                    "Contiguous",
                ];
                let behavior = self.of(&all);
                self.or_wrong(json!(behavior))
            }
            "prepend_scheme" => {
                let scheme = self.of(&["always", "first", "never"]);
                self.or_wrong(json!(scheme))
            }
            "strip_accents" => self.of(&[Value::Null, json!(true), json!(false)]),
            "length" | "start" | "stop" => self.number(),
            "cls" | "sep" => {
                let pair = json!([self.text(), self.number()]);
                self.or_wrong(pair)
            }
            "replacement" | "delimiter" => {
                let c = self.of(&["\u{2581}", " ", "a", "\u{1f600}", "ab", ""]);
                self.or_wrong(json!(c))
            }
            "precompiled_charsmap" => {
                // A trie of one unit, none, and what is no base64.
                let table = self.of(&["BAAAAAAAAAA=", "AAAAAA==", "", "?", "/////wAAAAA="]);
                json!(table)
            }
            "single" | "pair" => {
                let count = self.below(5);
                let pieces: Vec<Value> = (0..count).map(|_| self.piece()).collect();
                self.or_wrong(json!(pieces))
            }
            "special_tokens" => {
                let mut tokens = Map::new();
                for name in ["[CLS]", "[SEP]", "a"] {
                    let ids: Vec<Value> = (0..self.below(3)).map(|_| self.number()).collect();
                    let names: Vec<Value> = (0..self.below(3)).map(|_| self.text()).collect();
                    tokens.insert(
                        name.to_owned(),
                        json!({ "id": name, "ids": ids, "tokens": names }),
                    );
                }
                let right = json!({
                    "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                    "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] },
                });
                let tokens = if self.below(3) == 0 {
                    json!(tokens)
                } else {
                    right
                };
                self.or_wrong(tokens)
            }
            "content" | "prepend" | "suffix" | "prefix" | "pad_token" | "word_delimiter_token" => {
                self.text()
            }
            _ => self.flag(),
        }
    }

    fn piece(&mut self) -> Value {
        let id = self.of(&["[CLS]", "[SEP]", "a", "none"]);
        match self.below(5) {
            0 | 1 => json!({ "Sequence": { "id": "A", "type_id": 0 } }),
            2 => json!({ "Sequence": { "id": "B", "type_id": 1 } }),
            _ => json!({ "SpecialToken": { "id": id, "type_id": 0 } }),
        }
    }

    fn model(&mut self) -> Value {
        let kind = self.of(&["WordPiece", "BPE", "Unigram", "WordLevel"]);
        let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "ab"];
        let mut names: Vec<Value> = names.map(|name| json!(name)).to_vec();
        if self.below(4) == 0 {
            let place = self.below(names.len());
            names[place] = self.text();
        }
        let mut ids: Vec<Value> = (0..names.len()).map(|id| json!(id)).collect();
        if self.below(8) == 0 {
            let place = self.below(ids.len());
            ids[place] = self.number();
        }
        let vocab: Value = if kind == "Unigram" {
            let scores = [
                json!(-1.0),
                json!(0),
                json!(1e308),
                json!(-1e308),
                Value::Null,
            ];
            names
                .iter()
                .map(|name| json!([name, self.of(&scores)]))
                .collect()
        } else {
            let names = names
                .iter()
                .map(|name| name.as_str().unwrap_or_default().to_owned());
            Value::Object(names.zip(ids).collect())
        };
        let merges = self.of(&[
            json!(["a b"]),
            json!([["a", "b"]]),
            json!([]),
            json!(["b a"]),
            json!(["a"]),
            json!(7),
        ]);
        let mut optional = |value: Value| {
            if self.below(2) == 0 {
                Value::Null
            } else {
                value
            }
        };
        let affixes = [
            optional(json!("##")),
            optional(json!("</w>")),
            optional(json!(0.5)),
        ];
        let unknown = if kind == "BPE" {
            optional(json!("[UNK]"))
        } else {
            json!("[UNK]")
        };
        let prefix = if kind == "WordPiece" {
            self.text()
        } else {
            affixes[0].clone()
        };
        let model = json!({
            "type": kind,
            "vocab": vocab,
            "merges": merges,
            "unk_token": self.or_wrong(unknown),
            "unk_id": self.number(),
            "continuing_subword_prefix": prefix,
            "end_of_word_suffix": affixes[1],
            "max_input_chars_per_word": self.number(),
            "dropout": affixes[2],
            "fuse_unk": self.flag(),
            "byte_fallback": self.flag(),
            "ignore_merges": self.flag(),
        });
        self.or_wrong(model)
    }

    fn added(&mut self) -> Value {
        let count = self.below(3);
        let tokens: Vec<Value> = (0..count)
            .map(|_| {
                json!({
                    "id": self.number(),
                    "content": self.text(),
                    "single_word": self.flag(),
                    "lstrip": self.flag(),
                    "rstrip": self.flag(),
                    "normalized": self.flag(),
                    "special": self.flag(),
                })
            })
            .collect();
        self.or_wrong(json!(tokens))
    }
}

const NORMALIZERS: [&str; 14] = [
    "BertNormalizer",
    "Strip",
    "StripAccents",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "Nmt",
    "Precompiled",
    "Replace",
    "Prepend",
    "ByteLevel",
    "Unheard",
];
const PRE_TOKENIZERS: [&str; 13] = [
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Metaspace",
    "Whitespace",
    "Split",
    "Punctuation",
    "WhitespaceSplit",
    "Digits",
    "UnicodeScripts",
    "FixedLength",
    "Split",
    "Unheard",
];
const POST_PROCESSORS: [&str; 5] = [
    "TemplateProcessing",
    "BertProcessing",
    "RobertaProcessing",
    "ByteLevel",
    "Unheard",
];
const DECODERS: [&str; 10] = [
    "BPEDecoder",
    "ByteLevel",
    "WordPiece",
    "Metaspace",
    "CTC",
    "Replace",
    "Fuse",
    "Strip",
    "ByteFallback",
    "Unheard",
];

fn fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "BertNormalizer" => &[
            "clean_text",
            "handle_chinese_chars",
            "strip_accents",
            "lowercase",
        ],
        "Strip" => &["strip_left", "strip_right", "content", "start", "stop"],
        "Precompiled" => &["precompiled_charsmap"],
        "Replace" => &["pattern", "content"],
        "Prepend" => &["prepend"],
        "ByteLevel" => &["add_prefix_space", "trim_offsets", "use_regex"],
        "CharDelimiterSplit" => &["delimiter"],
        "Metaspace" => &["replacement", "prepend_scheme", "split"],
        "Split" => &["pattern", "behavior", "invert"],
        "Punctuation" => &["behavior"],
        "Digits" => &["individual_digits"],
        "FixedLength" => &["length"],
        "TemplateProcessing" => &["single", "pair", "special_tokens"],
        "BertProcessing" => &["sep", "cls"],
        "RobertaProcessing" => &["sep", "cls", "trim_offsets", "add_prefix_space"],
        "BPEDecoder" => &["suffix"],
        "WordPiece" => &["prefix", "cleanup"],
        "CTC" => &["pad_token", "word_delimiter_token", "cleanup"],
        _ => &[],
    }
}

/// A tokenizer.json.
pub fn json(input: &[u8]) -> Value {
    let mut choices = Choices(input);
    let model = choices.model();
    json!({
        "version": "1.0",
        "added_tokens": choices.added(),
        "normalizer": choices.part(&NORMALIZERS, "normalizers", 0),
        "pre_tokenizer": choices.part(&PRE_TOKENIZERS, "pretokenizers", 0),
        "post_processor": choices.part(&POST_PROCESSORS, "processors", 0),
        "decoder": choices.part(&DECODERS, "decoders", 0),
        "model": model,
    })
}
