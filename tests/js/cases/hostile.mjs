/** Bad input. Each gives an error in words with a stable code, and harms nobody. */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { hear, LIES, refusal } from "../support/lies.mjs";
import { embedder, failure, TINY, tinyFiles } from "../support/models.mjs";
import { join, split } from "../support/safetensors.mjs";

const TEXT = "The cat sat on the mat.";
const WORDS = "embeddings.word_embeddings.weight";
const DENSE = "encoder.layer.0.intermediate.dense.weight";
const encode = (text) => new TextEncoder().encode(text);

/** The file's header is changed; its data stays. */
const reheaded = (change) => (bytes) => {
  const { header, data } = split(bytes);
  change(header, data);
  return join(header, data);
};
const tensor = (name, fields) => reheaded((header) => Object.assign(header[name], fields));
const json = (change) => (bytes) => {
  const value = JSON.parse(new TextDecoder().decode(bytes));
  change(value);
  return encode(JSON.stringify(value));
};
const field = (name, value) =>
  json((object) => {
    object[name] = value;
  });
const only = (name) => (object) => {
  delete object[name];
};

/** As `git clone` leaves it where there is no git-lfs. */
const POINTER = `version https://git-lfs.github.com/spec/v1
oid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
size 90868376
`;
const pointer = (file) => [file, () => encode(POINTER), "invalid_source", `${file} is a Git LFS pointer`];

/** Case → the file, what is done to it, the code, and a word that the message must hold. */
const FILES = {
  "weights that are a Git LFS pointer": pointer("model.safetensors"),
  "a tokenizer that is a Git LFS pointer": pointer("tokenizer.json"),
  "a config.json that is a Git LFS pointer": pointer("config.json"),
  "not a safetensors file": [
    "model.safetensors",
    () => encode("<!doctype html><p>Sign in</p>"),
    "invalid_safetensors",
    "model.safetensors",
  ],
  "a safetensors file of zeros": [
    "model.safetensors",
    (bytes) => bytes.fill(0),
    "invalid_safetensors",
    "model.safetensors",
  ],
  "an empty safetensors file": [
    "model.safetensors",
    () => new Uint8Array(),
    "truncated_stream",
    "model.safetensors",
  ],
  "a header that is no JSON": [
    "model.safetensors",
    (bytes) => bytes.fill(0x7b, 8, 20),
    "invalid_safetensors",
    "model.safetensors",
  ],
  "a header length of 2^60": [
    "model.safetensors",
    (bytes) => {
      const { header, data } = split(bytes);
      return join(header, data, 2n ** 60n);
    },
    "invalid_safetensors",
    "header",
  ],
  "a header length past the end": [
    "model.safetensors",
    (bytes) => {
      const { header } = split(bytes);
      return join(header, new Uint8Array(), 90_000);
    },
    "truncated_stream",
    "bytes",
  ],
  "overlapping offsets": [
    "model.safetensors",
    reheaded((header) => {
      const [a, b] = Object.keys(header).filter((name) => name.endsWith("attention.self.query.weight"));
      header[b].data_offsets = header[a].data_offsets;
    }),
    "invalid_safetensors",
    "overlap",
  ],
  "offsets that run backwards": [
    "model.safetensors",
    reheaded((header) => header[DENSE].data_offsets.reverse()),
    "invalid_safetensors",
    DENSE,
  ],
  "offsets past the end": [
    "model.safetensors",
    reheaded((header, data) => {
      const last = Object.values(header).find((entry) => entry.data_offsets?.[1] === data.length);
      last.data_offsets = last.data_offsets.map((offset) => offset + 1e15);
    }),
    "invalid_safetensors",
    "",
  ],
  "negative offsets": [
    "model.safetensors",
    tensor(DENSE, { data_offsets: [-8, 0] }),
    "invalid_safetensors",
    "",
  ],
  "a shape whose product overflows": [
    "model.safetensors",
    tensor(DENSE, { shape: [2 ** 52, 2 ** 52] }),
    "invalid_safetensors",
    DENSE,
  ],
  "a tensor that is missing": [
    "model.safetensors",
    reheaded((header) => {
      header.other = header[DENSE];
      delete header[DENSE];
    }),
    "missing_tensor",
    DENSE,
  ],
  "a tensor of the wrong shape": [
    "model.safetensors",
    reheaded((header) => header[DENSE].shape.reverse()),
    "wrong_shape",
    DENSE,
  ],
  "a tensor of the wrong dtype": ["model.safetensors", tensor(DENSE, { dtype: "I32" }), "wrong_dtype", "I32"],
  "a tensor of a dtype that nobody knows": [
    "model.safetensors",
    tensor(DENSE, { dtype: "Q3_X" }),
    "wrong_dtype",
    "Q3_X",
  ],
  "a stream that ends early": [
    "model.safetensors",
    (bytes) => bytes.subarray(0, bytes.length - 100),
    "truncated_stream",
    "bytes",
  ],
  "config.json that is no JSON": ["config.json", () => encode("{"), "invalid_config", "config.json"],
  "config.json that is a list": ["config.json", () => encode("[]"), "invalid_config", "config.json"],
  "config.json without hidden_size": [
    "config.json",
    json(only("hidden_size")),
    "invalid_config",
    "hidden_size",
  ],
  "config.json without model_type": ["config.json", json(only("model_type")), "invalid_config", "model_type"],
  "a hidden_size of 1e12": ["config.json", field("hidden_size", 1e12), "invalid_config", "hidden_size"],
  "a hidden_size of 0": ["config.json", field("hidden_size", 0), "invalid_config", "hidden_size"],
  "a hidden_size that is text": [
    "config.json",
    field("hidden_size", "many"),
    "invalid_config",
    "hidden_size",
  ],
  "a vocab_size of 4e9": ["config.json", field("vocab_size", 4e9), "invalid_config", "vocab_size"],
  "1e9 layers": ["config.json", field("num_hidden_layers", 1e9), "invalid_config", "num_hidden_layers"],
  "0 heads": ["config.json", field("num_attention_heads", 0), "invalid_config", "num_attention_heads"],
  "heads that do not divide the size": [
    "config.json",
    field("num_attention_heads", 7),
    "invalid_config",
    "num_attention_heads",
  ],
  "an unknown model_type": [
    "config.json",
    field("model_type", "perceptron"),
    "unsupported_model",
    "perceptron",
  ],
  "a model_type whose fields are not there": [
    "config.json",
    field("model_type", "deberta-v2"),
    "invalid_config",
    "relative_attention",
  ],
  "an activation that nobody knows": ["config.json", field("hidden_act", "wavy"), "", "wavy"],
  "modules.json with a module that nobody knows": [
    "modules.json",
    json((modules) => {
      modules[1].type = "my.Module";
    }),
    "unsupported_model",
    "modules.json",
  ],
  "tokenizer.json that is no JSON": [
    "tokenizer.json",
    () => encode("{"),
    "invalid_tokenizer",
    "tokenizer.json",
  ],
  "tokenizer.json of another kind": [
    "tokenizer.json",
    () => encode('{"a":1}'),
    "invalid_tokenizer",
    "tokenizer.json",
  ],
  "a vocabulary larger than the embedding": [
    "tokenizer.json",
    json(({ model }) => {
      for (let i = 0; i < 500; i++) model.vocab[`new${i}`] = 1000 + i;
    }),
    "invalid_tokenizer",
    "",
  ],
  "config.json that is missing": ["config.json", () => undefined, "missing_file", "config.json"],
  "tokenizer.json that is missing": ["tokenizer.json", () => null, "missing_file", "tokenizer.json"],
  "model.safetensors that is missing": [
    "model.safetensors",
    () => undefined,
    "missing_file",
    "model.safetensors",
  ],
};

/** Case → the call, the code, and a word that the message must hold. */
const CALLS = {
  "input that is a number": [(model) => model.embeddings.create({ input: 7 }), "invalid_input", "input"],
  "input that is null": [(model) => model.embeddings.create({ input: null }), "invalid_input", "input"],
  "no input": [(model) => model.embeddings.create({}), "invalid_input", "input"],
  "no body": [(model) => model.embeddings.create(), "invalid_input", "input"],
  "a body that is a string": [(model) => model.embeddings.create("text"), "invalid_input", "body"],
  "a list with a boolean": [
    (model) => model.embeddings.create({ input: ["a", true] }),
    "invalid_input",
    "boolean",
  ],
  "a list with an object": [(model) => model.encode(["a", { text: "b" }]), "invalid_input", "object"],
  "texts that are undefined": [(model) => model.encode(undefined), "invalid_input", "texts"],
  "a function in the place of texts": [(model) => model.encode(() => "a"), "invalid_input", "texts"],
  "ids and texts in one list": [(model) => model.encode([1, "a"]), "invalid_input", ""],
  "half a token id": [(model) => model.encode([1.5]), "invalid_input", ""],
  "a negative token id": [(model) => model.encode([-1]), "invalid_input", ""],
  "an encoding_format that nobody knows": [
    (model) => model.embeddings.create({ input: "a", encoding_format: "hex" }),
    "invalid_input",
    "hex",
  ],
  "an empty list": [(model) => model.embeddings.create({ input: [] }), "empty_input", "empty"],
  "an empty list to encode": [(model) => model.encode([]), "empty_input", ""],
  "an empty list of token ids": [(model) => model.encode([[]]), "empty_input", ""],
  "an empty string in OpenAI's format": [
    (model) => model.embeddings.create({ input: ["a", ""] }),
    "empty_input",
    "1",
  ],
  "2,049 inputs": [
    (model) => model.embeddings.create({ input: Array(2049).fill("a") }),
    "too_many_inputs",
    "2049",
  ],
  "a token id past the vocabulary": [
    (model) => model.embeddings.create({ input: [5, 4000] }),
    "token_out_of_range",
    "4000",
  ],
  "a token id past 32 bits": [(model) => model.encode([2 ** 40]), "token_out_of_range", ""],
  "dimensions of 0": [
    (model) => model.embeddings.create({ input: "a", dimensions: 0 }),
    "invalid_dimensions",
    "48",
  ],
  "dimensions too large": [(model) => model.encode("a", { dimensions: 49 }), "invalid_dimensions", "48"],
  "dimensions that are negative": [
    (model) => model.embeddings.create({ input: "a", dimensions: -3 }),
    "invalid_input",
    "dimensions",
  ],
  "dimensions that are text": [
    (model) => model.embeddings.create({ input: "a", dimensions: "8" }),
    "invalid_input",
    "dimensions",
  ],
  "dimensions beyond 2^53, to encode": [
    (model) => model.encode("a", { dimensions: 1e300 }),
    "invalid_input",
    "",
  ],
  "an option that nobody knows": [
    (model) => model.encode("a", { normalise: true }),
    "invalid_input",
    "normalise",
  ],
  "a prompt that nobody knows": [
    (model) => model.encode("a", { promptName: "poem" }),
    "unknown_prompt",
    "query",
  ],
  "a text that is too long, in OpenAI's format": [
    (model) => model.embeddings.create({ input: "a ".repeat(500) }),
    "input_too_long",
    "32",
  ],
  "a sparse vector of a dense model": [(model) => model.encodeSparse("a"), "wrong_model_kind", "encode"],
  "a sparse answer of a dense model": [(model) => model.embedSparse({ inputs: "a" }), "wrong_model_kind", ""],
  "tokenising what is no text": [(model) => model.tokenize([7]), "invalid_input", ""],
};

/**
 * The error is one of ours and useful; the embedder of before gives the same bits; a new one can be
 * loaded.
 */
async function harmless(origin, code, word, call) {
  const bystander = await embedder(origin, TINY, "q8");
  const before = (await bystander.encode(TEXT)).data;
  const error = await failure(call);
  assert.instanceOf(error, GossamerError, String(error?.stack ?? error));
  if (code) assert.equal(error.code, code, error.message);
  assert.notEqual(error.code, "internal", error.message);
  assert.include(error.message, word);
  assert.match(error.message, /\w+ \w+ \w+/, "the message is a sentence");
  assert.isAtLeast(error.status, 400);
  assert.deepEqual((await bystander.encode(TEXT)).data, before);
  const fresh = await load(await tinyFiles(origin));
  assert.deepEqual((await fresh.encode(TEXT)).data, before);
  fresh.dispose();
}

export const cases = {
  ...Object.fromEntries(
    Object.entries(FILES).map(([name, [file, damage, code, word]]) => [
      name,
      async ({ origin }) => {
        const files = await tinyFiles(origin);
        assert.isDefined(files[file]);
        // Some damage is done in place.
        files[file] = damage(files[file]);
        await harmless(origin, code, word, () => load(files));
      },
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(CALLS).map(([name, [call, code, word]]) => [
      name,
      async ({ origin }) => {
        const model = await embedder(origin, TINY, "q8");
        await harmless(origin, code, word, () => call(model));
      },
    ]),
  ),
  "a Hub that lies in any field, header, status or body": async (server) => {
    // Some of them here; Node hears all.
    const some = LIES.filter((_, index) => index % 16 === 0);
    const { loaded, network } = await hear(server, some);
    assert.isAbove(loaded, 5);
    assert.isAbove(network, 5);
  },
  "a Hub's sizes, hashes and names that are none": async (server) => {
    const of = (field, value) => ({
      list: { set: [["siblings", "model.safetensors", ...field.split(".")], JSON.stringify(value)] },
    });
    for (const [field, value] of [
      ["size", -5],
      ["size", 1e15],
      ["size", "x"],
      ["lfs.sha256", "../../../../PWNED/new.sh"],
      ["lfs.sha256", "0".repeat(40)],
      ["blobId", "../../../../PWNED/new.sh"],
    ]) {
      const error = await refusal(server, of(field, value));
      assert.deepEqual([error.code, error.status], ["network", 502], error.message);
      assert.include(error.message, field);
    }
    const commit = await refusal(server, { small: { headers: { "x-repo-commit": "../../PWNED" } } });
    assert.include(commit.message, "x-repo-commit");
  },
  "names of models, revisions and folders that lead elsewhere": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    for (const [source, options] of [
      ["org/tiny@../../../../PWNED"],
      ["org/tiny@a/../../PWNED"],
      ["org/tiny@a//b"],
      ["org/tiny@C:x"],
      ["org/tiny", { revision: "..\\..\\PWNED" }],
      ["org/tiny", { revision: "a\0b" }],
      ["org/tiny", { subfolder: "../org" }],
      ["org/tiny", { subfolder: "/etc" }],
      ["org/ti--ny"],
      ["org--tiny"],
      ["org/tiny.."],
      [`${endpoint}/org/tiny/tree/..%2F..%2FPWNED`],
      [`${endpoint}/org/tiny/resolve/main/%2e%2e%2f%2e%2e%2fPWNED/config.json`],
      ["org/tiny", { endpoint: "ftp://example.org" }],
      ["org/tiny", { endpoint: "hub" }],
      ["org/tiny", { endpoint: `${endpoint}?key=secret` }],
    ]) {
      await harmless(origin, "invalid_source", "", () => load(source, { endpoint, ...options }));
    }
    const error = await failure(() => load("org/tiny", { endpoint, token: "hf_söcret" }));
    assert.deepEqual([error.code, error.message.includes("söcret")], ["invalid_input", false]);
    const named = { file: "../tiny/model.bf16.safetensors" };
    await harmless(origin, "invalid_input", "", () => load(`${origin}/${TINY}`, named));
  },
  "signatures stand in no message": async ({ origin }) => {
    for (const place of [
      "failing",
      "nothing",
      "broken",
      "stalled",
      "fallback/nothing",
      `flaky/changing/${Math.random()}`,
    ]) {
      const url = `${origin}/${place}/?X-Amz-Signature=SECRET#SECRET`;
      const error = await failure(() => load(url, { stallTimeout: 200 }));
      for (let at = error; at; at = at.cause) assert.notInclude(at.message, "SECRET", place);
    }
    const away = await failure(() => load("http://127.0.0.1:9/x/?signature=SECRET"));
    for (let at = away; at; at = at.cause) assert.notInclude(at.message, "SECRET");
  },
  "a dtype that nobody knows": ({ origin }) =>
    harmless(origin, "invalid_input", "f64", () => load(`${origin}/${TINY}`, { dtype: "f64" })),
  "a config of another model": async ({ origin }) => {
    const files = await tinyFiles(origin);
    files["config.json"] = json((config) => {
      config.hidden_size = 96;
    })(files["config.json"]);
    await harmless(origin, "wrong_shape", WORDS, () => load(files));
  },
};
