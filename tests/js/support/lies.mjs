/**
 * What a hostile Hub may say: every field of its answers, with every kind of value that does not
 * belong there.
 */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { failure } from "./models.mjs";

const TEXT = "The cat sat on the mat.";
const WEIGHTS = "model.safetensors";
/** Milliseconds in which a load must come to an end, on a machine that is busy. */
const LONGEST = 60_000;
/** Loads side by side: most of them wait between tries. */
const ABREAST = 24;

/** Paths that lead elsewhere, on one system or another, or nowhere. */
const PATHS = [
  "../../../../PWNED/file",
  "../PWNED",
  "a/../../../../PWNED",
  "/tmp/PWNED",
  "//PWNED/share",
  "..",
  ".",
  "",
  "a//b",
  "..\\..\\..\\PWNED",
  "C:\\PWNED",
  "C:PWNED",
  "PWNED.txt:stream",
  "a\0PWNED",
  "a\nPWNED",
  "%2e%2e/%2e%2e/PWNED",
  "\ud800",
  ".. /PWNED",
  "x".repeat(5000),
  "__proto__",
].map((path) => JSON.stringify(path));
/** As JSON, which has numbers that JavaScript has not. */
const VALUES = [
  ...["null", "true", "{}", "[]", "[null]", '{"toString":7}', '"x"', '"5"'],
  ...["-5", "1.5", "-0", "1e15", "9007199254740993", "1e999", "7", "0"],
  ...["0".repeat(40), "0".repeat(64), "g".repeat(40), "F".repeat(64), "0".repeat(63)].map((text) =>
    JSON.stringify(text),
  ),
  JSON.stringify(`../${"0".repeat(61)}`),
];

const FIELDS = [
  ["sha"],
  ["siblings"],
  ["siblings", WEIGHTS],
  ...["rfilename", "size", "blobId", "lfs"].map((field) => ["siblings", WEIGHTS, field]),
  ...["sha256", "size"].map((field) => ["siblings", WEIGHTS, "lfs", field]),
  ...["rfilename", "size", "blobId"].map((field) => ["siblings", "config.json", field]),
];

const listed = FIELDS.flatMap((path) =>
  [...PATHS, ...VALUES].map((json) => ({ list: { set: [path, json] } })),
);

/** Node sends no others. */
const texts = [...PATHS, ...VALUES]
  .map((json) => json.replace(/^"|"$/g, "").replaceAll("\\\\", "\\"))
  .filter((text) => /^[ -~]*$/.test(text) && !/\\[0un]/.test(text));
const headers = [
  ...texts.map((text) => [["small"], "x-repo-commit", text]),
  ...texts.map((text) => [["large"], "location", text]),
  ...["etag", "last-modified", "content-type", "content-encoding", "content-range"].flatMap((name) =>
    ["", "../../PWNED", "x", "-5", "gzip", "bytes 5-9/20", "bytes 0-9/1e15", 'W/"x"'].map((text) => [
      ["small", "cdn"],
      name,
      text,
    ]),
  ),
  ...[
    "ftp://127.0.0.1/x",
    "file:///etc/passwd",
    "data:,x",
    "//[",
    "http://127.0.0.1:9/x",
    "https://127.0.0.1:9/x",
  ].map((text) => [["list", "small", "large"], "location", text]),
].flatMap(([kinds, name, text]) =>
  kinds.map((kind) => ({
    [kind]: { headers: { [name]: text }, ...(name === "location" && { status: 302 }) },
  })),
);

const statuses = ["list", "small", "large", "cdn"].flatMap((kind) =>
  [
    201, 204, 205, 206, 300, 301, 304, 307, 308, 400, 401, 403, 404, 407, 410, 416, 418, 429, 500, 503,
  ].flatMap((status) =>
    ["0", "-1", "x", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT"]
      .slice(0, status === 429 || status === 503 ? undefined : 1)
      .map((after) => ({
        [kind]: { status, headers: { "retry-after": after }, ...(status === 304 && { body: "" }) },
      })),
  ),
);

const bodies = ["list", "small", "cdn"].flatMap((kind) => [
  ...["", "\0", "[", "null", "[]", "{}", "x".repeat(100_000), "[".repeat(100_000)].map((body) => ({
    [kind]: { body },
  })),
  { [kind]: { body: '{"error":"<script>\\u001b[2J"}', status: 400 } },
]);

/** Never ends: what is read as a whole is bounded. */
export const ENDLESS = ["list", "small", "cdn"].map((kind) => ({
  [kind]: { endless: true, headers: { "content-length": 2 ** 40 } },
}));

export const LIES = [...listed, ...headers, ...statuses, ...bodies];

let runs = 0;

/** A model of which the Hub tells a lie. */
async function liar(endpoint, lie) {
  const name = `lie-${runs++}`;
  const { ok } = await fetch(`${endpoint}/lies/${name}`, { method: "POST", body: JSON.stringify(lie) });
  assert.isTrue(ok);
  return `hostile/${name}`;
}

/** Loads from a Hub that tells each lie: it ends with an error of ours, or with the right model. */
export async function hear({ origin }, lies, options = {}) {
  const endpoint = `${origin}/hub`;
  const expected = await load(`${origin}/tests/fixtures/tiny-bert/`);
  const { data } = await expected.encode(TEXT);
  expected.dispose();
  const queue = [...lies];
  const outcomes = {};
  const one = async (lie) => {
    const story = JSON.stringify(lie);
    const name = await liar(endpoint, lie);
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning);
    const loading = load(name, { endpoint, stallTimeout: 1000, onWarning, ...options });
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it has not ended: ${story.slice(0, 300)}`)), LONGEST);
    });
    try {
      const model = await Promise.race([loading, late]);
      assert.deepEqual((await model.encode(TEXT)).data, data, story);
      await model.cached;
      model.dispose();
      outcomes.loaded = (outcomes.loaded ?? 0) + 1;
    } catch (error) {
      assert.instanceOf(error, GossamerError, `${story.slice(0, 300)}: ${error.stack}`);
      assert.notInclude(["internal", "aborted"], error.code, `${story.slice(0, 300)}: ${error.stack}`);
      outcomes[error.code] = (outcomes[error.code] ?? 0) + 1;
    } finally {
      clearTimeout(timer);
    }
  };
  const worker = async () => {
    for (let lie = queue.shift(); lie; lie = queue.shift()) await one(lie);
  };
  await Promise.all(Array.from({ length: ABREAST }, worker));
  return outcomes;
}

/** The error of a load from a Hub that tells a lie. */
export async function refusal({ origin }, lie, options) {
  const endpoint = `${origin}/hub`;
  const name = await liar(endpoint, lie);
  return failure(() => load(name, { endpoint, cache: false, ...options }));
}
