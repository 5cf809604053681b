/**
 * `gossamer serve`, the native server: the same answers as the package gives, to the formats' own
 * clients.
 */

import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ChromaCloudSpladeEmbeddingFunction } from "@chroma-core/chroma-cloud-splade";
import { InferenceClient } from "@huggingface/inference";
import { assert } from "chai";
import { load } from "gossamer-embed";
import OpenAI from "openai";
import { launch, listen, run, until } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { MINILM, rows } from "../support/models.mjs";
import { root } from "../support/server.mjs";

const TEXTS = ["a cat", "the dog sat on the mat"];
/** Where cargo builds to, and xtask installs Python's packages. */
const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;

let scratch;
/** A folder with a small model that gives vectors of all kinds. */
let m3;
let embedder;
let server;
let minilm;
let denseServer;
before(async () => {
  scratch = await mkdtemp(`${TARGET}/serve-`);
  m3 = join(scratch, "m3");
  await materialise(`${root}tests/fixtures/tiny-m3`, m3);
  embedder = await load(m3);
  server = await serve("--model", m3);
  minilm = await load(root + MINILM);
  denseServer = await serve("--model", root + MINILM);
});
after(async () => {
  await server?.stop();
  await denseServer?.stop();
  await rm(scratch, { recursive: true, force: true });
});

/** Starts a server on a free port. */
async function serve(...args) {
  const options = args.at(-1) instanceof Object ? args.pop() : {};
  const env = { ...process.env, ...options };
  const child = launch(`${TARGET}/debug/gossamer`, ["serve", "--port", "0", ...args], { env });
  const [, url] = await child.printed(/^listening on (.*)$/m);
  return { url, stop: () => child.stop() };
}

async function ask(url, path, body, headers = {}) {
  const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, json: await response.json() };
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const same = (a, b) => assert.deepEqual(Float32Array.from(a), Float32Array.from(b));

describe("clients", () => {
  test("openai", async () => {
    const client = new OpenAI({ apiKey: "unused", baseURL: `${server.url}/v1` });
    const { data, model } = await client.embeddings.create({ model: "tiny", input: TEXTS });
    assert.equal(model, "tiny");
    for (const [i, vector] of rows(await embedder.encode(TEXTS)).entries()) same(data[i].embedding, vector);
    const models = await client.models.list();
    assert.deepEqual(
      models.data.map(({ id }) => id),
      ["m3"],
    );
    const error = await client.embeddings.create({ model: "tiny", input: [] }).catch((error) => error);
    assert.instanceOf(error, OpenAI.BadRequestError);
    assert.equal(error.code, "empty_input");
  });

  test("@chroma-core/chroma-cloud-splade", async () => {
    process.env.CHROMA_EMBED_URL = server.url;
    process.env.CHROMA_API_KEY = "unused";
    const answer = await new ChromaCloudSpladeEmbeddingFunction().generate(TEXTS);
    for (const [i, { indices, values }] of (await embedder.encodeSparse(TEXTS)).entries()) {
      assert.deepEqual(answer[i].indices, Array.from(indices));
      same(answer[i].values, values);
    }
  });

  test("@huggingface/inference", async () => {
    const client = new InferenceClient("unused", { endpointUrl: `${server.url}/embed` });
    const answer = await client.featureExtraction({ inputs: TEXTS });
    for (const [i, vector] of rows(await embedder.encode(TEXTS)).entries()) same(answer[i], vector);
  });
});

/** The commands of the documents, with another host. */
describe("curl", () => {
  const curl = async (...args) => JSON.parse((await run("curl", ["--silent", ...args])).stdout);
  const json = ["-H", "Content-Type: application/json"];

  test("Trieve: embed_sparse", async () => {
    const body = ["-d", '{"inputs": "test input"}'];
    const [entries] = await curl("-X", "POST", ...json, ...body, "--url", `${server.url}/embed_sparse`);
    const [{ indices, values }] = await embedder.encodeSparse("test input");
    assert.deepEqual(
      entries.map(({ index }) => index),
      Array.from(indices),
    );
    same(
      entries.map(({ value }) => value),
      values,
    );
  });

  test("Trieve: v1/embeddings", async () => {
    const body = ["-d", '{"input": "test input"}'];
    const { data } = await curl("-X", "POST", ...json, ...body, "--url", `${denseServer.url}/v1/embeddings`);
    same(data[0].embedding, (await minilm.encode("test input")).data);
  });

  test("SambaNova", async () => {
    const body = {
      input: "The curious fox dashed through the golden field.",
      model: "E5-Mistral-7B-Instruct",
    };
    const key = ["-H", "Authorization: Bearer <your-api-key>"];
    const answer = await curl(
      `${denseServer.url}/v1/embeddings`,
      ...key,
      ...json,
      "-d",
      JSON.stringify(body),
    );
    same(answer.data[0].embedding, (await minilm.encode(body.input)).data);
    assert.equal(answer.model, body.model);
    assert.equal(answer.object, "list");
    assert.isAbove(answer.usage.prompt_tokens, 0);
  });

  test("Inworld", async () => {
    const body = {
      inputs: [{ text: "Hello Inworld!" }],
      model: {
        model: "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
        serviceProvider: "SERVICE_PROVIDER_INWORLD",
      },
    };
    const headers = [
      "--header",
      "Authorization: Basic $INWORLD_API_KEY",
      "--header",
      "Content-Type: application/json",
    ];
    const url = `${denseServer.url}/ml/v1alpha/embedding:embed`;
    const { embeddings } = await curl("--location", url, ...headers, "--data", JSON.stringify(body));
    same(embeddings[0].values, (await minilm.encode("Hello Inworld!")).data);
  });
});

test("several models, keys, limits, other origins", async () => {
  const splade = `${root}tests/fixtures/tiny-splade`;
  const limits = ["--max-body-bytes", "1000", "--cors", "https://page.example"];
  const { url, stop } = await serve(
    "--model",
    m3,
    "--model",
    `splade=${splade}`,
    "--api-key",
    "secret",
    ...limits,
  );
  const key = { authorization: "Bearer secret" };
  const sparse = await ask(url, "/embed_sparse", { inputs: "a cat", model: "splade" }, key);
  const [{ values }] = await (await load(splade)).encodeSparse("a cat");
  same(
    sparse.json[0].map(({ value }) => value),
    values,
  );
  const unknown = await ask(url, "/v1/embeddings", { input: "a", model: "another" }, key);
  assert.deepEqual([unknown.status, unknown.json.error.code], [404, "model_not_found"]);
  const wrong = await ask(url, "/embed", { inputs: "a" }, { authorization: "Bearer other" });
  assert.deepEqual([wrong.status, wrong.json.error_type], [401, "unauthenticated"]);
  const large = await ask(url, "/embed", { inputs: "a".repeat(1000) }, key);
  assert.equal(large.status, 413);
  const page = await fetch(`${url}/health`, { headers: { origin: "https://page.example" } });
  assert.equal(page.headers.get("access-control-allow-origin"), "https://page.example");
  assert.equal((await fetch(`${url}/health`)).headers.get("access-control-allow-origin"), null);
  assert.equal(await stop(), 0);
});

test("a full queue is 429, a late answer 408", async () => {
  const input = Array(2000).fill("the dog sat on the mat");
  const full = await serve("--model", m3, "--max-requests", "2", "--threads", "1");
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => ask(full.url, "/v1/embeddings", { input, encoding_format: "base64" })),
  );
  const refused = answers.filter(({ status }) => status === 429);
  assert.isAbove(refused.length, 0);
  assert.equal(refused[0].json.error.code, "rate_limit_exceeded");
  const served = answers.filter(({ status }) => status === 200);
  assert.equal(served.length + refused.length, 8);
  assert.deepEqual(served[0].json.data.length, 2000);
  assert.equal(await full.stop(), 0);
  const late = await serve("--model", m3, "--timeout", "0");
  const answer = await ask(late.url, "/embed", { inputs: input });
  assert.deepEqual([answer.status, answer.json.error_type], [408, "timeout"]);
  await late.stop();
});

test("what is under way when the server is told to end is answered", async () => {
  const { url, stop } = await serve("--model", m3);
  const pending = ask(url, "/v1/embeddings", { input: Array(2000).fill("the dog sat on the mat") });
  await new Promise((done) => setTimeout(done, 50));
  const status = stop();
  assert.equal((await pending).status, 200);
  assert.equal(await status, 0);
});

test("clients that go away leave the server to others", async () => {
  const { url, stop } = await serve("--model", m3, "--threads", "1", "--max-requests", "3");
  const controller = new AbortController();
  const body = JSON.stringify({ input: Array(2048).fill("the dog sat on the mat") });
  const gone = Array.from({ length: 3 }, () =>
    fetch(`${url}/v1/embeddings`, { method: "POST", body, signal: controller.signal }).catch(
      (error) => error,
    ),
  );
  await new Promise((done) => setTimeout(done, 30));
  controller.abort();
  for (const error of await Promise.all(gone)) assert.equal(error.name, "AbortError");
  // Their places become free as soon as the server has noticed.
  const answered = async () => {
    const { status } = await ask(url, "/v1/embeddings", { input: "a" });
    return status !== 429 && status;
  };
  assert.equal(await until(answered, "there is a place in the queue"), 200);
  await stop();
});

test("what cannot be served is said", async () => {
  const error = await serve("--model", "./nowhere").catch((error) => error);
  assert.match(error.message, /nowhere is neither a folder nor a model's name on the Hub/);
  const twice = await serve("--model", m3, "--model", m3).catch((error) => error);
  assert.match(twice.message, /two models are called m3/);
});

test("a model of the Hub, which then needs no network", async () => {
  const id = "org/gated-m3";
  const commit = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
  const asked = [];
  const hub = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://hub").pathname);
    asked.push(path);
    if (request.headers.authorization !== "Bearer secret") {
      return response.writeHead(401).end();
    }
    if (path === `/api/models/${id}/revision/main`) {
      const files = await readdir(m3, { recursive: true, withFileTypes: true });
      const names = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
      const siblings = names.map((name) => ({ rfilename: name.slice(m3.length + 1) }));
      return response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ siblings, sha: commit }));
    }
    const name = path.split(`/${id}/resolve/${commit}/`)[1];
    if (name === undefined) return response.writeHead(404).end();
    const bytes = await readFile(join(m3, name));
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "bytes=0-") ?? [];
    const end = last ? Math.min(Number(last), bytes.length - 1) : bytes.length - 1;
    const part = bytes.subarray(Number(first), end + 1);
    const range = `bytes ${first}-${end}/${bytes.length}`;
    const headers = {
      "content-length": part.length,
      "content-range": range,
      etag: `"${sha256(bytes)}"`,
      "x-repo-commit": commit,
    };
    response.writeHead(206, headers).end(part);
  });
  const port = await listen(hub);
  const environment = {
    HF_ENDPOINT: `http://127.0.0.1:${port}`,
    HF_HOME: join(scratch, "hub"),
    HF_HUB_CACHE: "",
    HF_TOKEN: "secret",
  };
  const refused = await serve("--model", id, { ...environment, HF_TOKEN: "" }).catch((error) => error);
  assert.match(refused.message, /the Hub has no model org\/gated-m3 for us: .*HF_TOKEN/);
  const answers = async (options) => {
    const { url, stop } = await serve("--model", id, { ...environment, ...options });
    const { json } = await ask(url, "/v1/embeddings", { input: TEXTS });
    await stop();
    return json.data.map(({ embedding }) => embedding);
  };
  const first = await answers();
  for (const [i, vector] of rows(await embedder.encode(TEXTS)).entries()) same(first[i], vector);
  const weights = (path) => path.endsWith("model.safetensors");
  assert.isAbove(asked.filter(weights).length, 0);
  const before = asked.length;
  assert.deepEqual(await answers({ HF_HUB_OFFLINE: "1" }), first);
  assert.equal(asked.length, before);
  assert.deepEqual(await answers(), first);
  assert.equal(asked.slice(before).filter(weights).length, 0);
  hub.close();
  hub.closeAllConnections();
  // Not even told to be offline.
  assert.deepEqual(await answers(), first);
});

test("schemathesis: 5,000 cases, each answered as the OpenAPI document says", async () => {
  const args = [
    ...["-m", "schemathesis.cli", "--config-file", `${root}tests/js/support/schemathesis.toml`],
    ...["run", `${server.url}/openapi.json`, "--phases", "coverage,fuzzing", "--checks", "all"],
    // What a model has no prompt for, what is too long for it or has ids beyond its vocabulary is
    // right by the document, which is the same for all models, and is refused nevertheless.
    ...["--exclude-checks", "positive_data_acceptance"],
    ...["--max-examples", "450", "--continue-on-failure", "--seed", "1", "--no-color"],
  ];
  const options = { env: { ...process.env, PYTHONPATH: `${TARGET}/python` }, timeout: 600_000 };
  const part = async (name, ...paths) => {
    const cwd = join(scratch, name);
    await mkdir(cwd);
    const { stdout } = await run("python3", [...args, ...paths], { ...options, cwd });
    const [, cases] = /(\d+) generated/.exec(stdout) ?? assert.fail(stdout);
    return Number(cases);
  };
  // Two, since each keeps one core busy.
  const paths = "^/(embed|$)";
  const cases = await Promise.all([
    part("some", "--include-path-regex", paths),
    part("others", "--exclude-path-regex", paths),
  ]);
  assert.isAtLeast(cases[0] + cases[1], 5000);
});
