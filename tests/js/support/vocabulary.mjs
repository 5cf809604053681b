/** Tokenizers of the sizes that real models have, made up: their own are not ours to ship. */

/** Reproducible numbers below `n` (xorshift). */
function random(seed) {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** First character and number of characters of a few scripts, weighted towards Latin. */
const SCRIPTS = [
  [0x61, 26],
  [0x61, 26],
  [0x61, 26],
  [0x61, 26],
  [0xe0, 24],
  [0x430, 32],
  [0x3b1, 24],
  [0x5d0, 27],
  [0x627, 30],
  [0x905, 50],
  [0xe01, 45],
  [0x4e00, 4000],
  [0xac00, 4000],
  [0x3041, 80],
];

/**
 * So many different pieces of 1 to 16 characters, most of them with a word's beginning, as in
 * XLM-R's vocabulary.
 */
export function pieces(count) {
  const next = random(20260101);
  const all = new Set(["<s>", "<pad>", "</s>", "<unk>", "▁"]);
  for (const [first, size] of SCRIPTS.slice(3)) {
    for (let i = 0; i < size; i++) all.add(String.fromCodePoint(first + i));
  }
  while (all.size < count) {
    const [first, size] = SCRIPTS[next(SCRIPTS.length)];
    // Few syllables, so that pieces share prefixes as words do.
    const length = 1 + next(size > 100 ? 4 : 12);
    let piece = next(3) > 0 ? "▁" : "";
    for (let i = 0; i < length; i++)
      piece += String.fromCodePoint(first + Math.trunc((next(size) * next(size)) / size));
    all.add(piece);
  }
  return [...all];
}

const added = (tokens) =>
  tokens.map(([content, id]) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));

/**
 * A tokenizer.json like XLM-R's, indented as real ones are; `normalizer` is one with a precompiled
 * charsmap.
 */
export function unigram(vocabulary, normalizer) {
  const special = [0, 1, 2, 3].map((id) => [vocabulary[id], id]);
  const template = (id) => ({ SpecialToken: { id, type_id: 0 } });
  const value = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added(special),
    normalizer,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "WhitespaceSplit" },
        { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [template("<s>"), { Sequence: { id: "A", type_id: 0 } }, template("</s>")],
      pair: [],
      special_tokens: Object.fromEntries(
        ["<s>", "</s>"].map((id) => [id, { id, ids: [vocabulary.indexOf(id)], tokens: [id] }]),
      ),
    },
    decoder: null,
    model: {
      type: "Unigram",
      unk_id: 3,
      vocab: vocabulary.map((piece, id) => [piece, id < 4 ? 0 : Math.fround(-4 - Math.log(id))]),
      byte_fallback: false,
    },
  };
  return JSON.stringify(value, undefined, 2);
}

/**
 * A byte-level BPE of so many merges; `small` is a tokenizer.json of the kind, whose other parts it
 * takes.
 */
export function bpe(small, merges) {
  const next = random(7);
  const value = structuredClone(small);
  const vocab = new Map();
  for (const [token, id] of Object.entries(small.model.vocab))
    if ([...token].length === 1) vocab.set(token, id);
  const tokens = [...vocab.keys()].filter((token) => /^[a-zĠ]$/.test(token));
  const list = [];
  let id = Math.max(...Object.values(small.model.vocab));
  while (list.length < merges) {
    // Early tokens are joined more often, and a word's beginning stays at the beginning.
    const pick = () => tokens[Math.trunc((next(tokens.length) * next(tokens.length)) / tokens.length)];
    const [a, b] = [pick(), pick()];
    if (b.startsWith("Ġ") || a.length + b.length > 12 || vocab.has(a + b)) continue;
    id += 1;
    vocab.set(a + b, id);
    tokens.push(a + b);
    list.push([a, b]);
  }
  for (const [token, old] of Object.entries(small.model.vocab)) if (!vocab.has(token)) vocab.set(token, old);
  value.model.vocab = Object.fromEntries(vocab);
  value.model.merges = list;
  return JSON.stringify(value);
}

/** A text of so many words out of a vocabulary. */
export function text(vocabulary, words, seed) {
  const next = random(seed);
  const beginnings = vocabulary.filter((piece) => piece.length > 1 && /^[▁Ġ]?[a-z]+$/.test(piece));
  const one = () => beginnings[next(beginnings.length)].replace(/^[▁Ġ]/, "");
  return Array.from({ length: words }, () => one() + (next(3) === 0 ? one() : "")).join(" ");
}
