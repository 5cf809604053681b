/** Requests and answers of the five APIs' documents: the same keys, types and statuses. */

import { assert } from "chai";
import { serve } from "gossamer-embed";
import { embedder, failure, MINILM, rows, SPLADE, TINY } from "../support/models.mjs";

const JSON_TYPE = { "content-type": "application/json" };
const CHROMA = {
  ...JSON_TYPE,
  "x-chroma-token": "key",
  "x-chroma-embedding-model": "prithivida/Splade_PP_en_v1",
};
const INWORLD = "/ml/v1alpha/embedding:embed";

/** Asks a handler; `{ status, json }`, or with no body `{ status }`. */
async function ask(handler, path, body, { method = "POST", headers = JSON_TYPE } = {}) {
  const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  const response = await handler(`http://localhost${path}`, { method, headers, body: text });
  const answer = await response.text();
  if (answer === "") return { status: response.status };
  assert.equal(response.headers.get("content-type"), "application/json", path);
  return { status: response.status, json: JSON.parse(answer) };
}
const get = (handler, path) => ask(handler, path, undefined, { method: "GET", headers: {} });

/** A value's shape: keys and types, of a list that of all of its elements. */
function shape(value) {
  if (Array.isArray(value)) {
    const shapes = value.map(shape);
    for (const other of shapes) assert.deepEqual(other, shapes[0], "all elements are alike");
    return shapes.slice(0, 1);
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, shape(field)]));
  }
  return value === null ? "null" : typeof value;
}

async function both(origin) {
  return [await embedder(origin, TINY, "q8"), await embedder(origin, SPLADE, "q8")];
}

const same = (list, vector) => assert.deepEqual(Float32Array.from(list), vector);
/** Longer than the tiny models take. */
const LONG = "cat ".repeat(2000);

export const cases = {
  "Trieve's /embed_sparse": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const documented = {
      inputs: "The model input",
      prompt_name: null,
      truncate: false,
      truncation_direction: "right",
    };
    for (const body of [
      documented,
      { inputs: "test single input" },
      { inputs: ["test input", "test input 2"] },
    ]) {
      const { status, json } = await ask(sparse.fetch, "/embed_sparse", body);
      assert.equal(status, 200);
      assert.deepEqual(shape(json), [[{ index: "number", value: "number" }]]);
      const expected = await sparse.encodeSparse(body.inputs);
      assert.deepEqual(
        json.map((entries) => entries.map(({ index }) => index)),
        expected.map(({ indices }) => Array.from(indices)),
      );
    }
    const error = { error: "string", error_type: "string" };
    for (const [handler, body, status, type] of [
      [dense.fetch, { inputs: "a" }, 424, "backend"],
      [sparse.fetch, { inputs: Array(2049).fill("a") }, 413, "validation"],
      [sparse.fetch, { inputs: LONG }, 422, "validation"],
      [sparse.fetch, { inputs: "a", prompt_name: "nobody" }, 422, "validation"],
      [sparse.fetch, { inputs: 7 }, 422, "validation"],
      [sparse.fetch, { inputs: [] }, 400, "empty"],
      [sparse.fetch, "{", 400, "validation"],
    ]) {
      const answer = await ask(handler, "/embed_sparse", body);
      assert.equal(answer.status, status, JSON.stringify(body).slice(0, 60));
      assert.deepEqual(shape(answer.json), error);
      assert.equal(answer.json.error_type, type);
    }
    // Both spellings, and from the other end.
    const cut = (direction) =>
      ask(sparse.fetch, "/embed_sparse", { inputs: `dog ${LONG}`, truncate: true, ...direction });
    const right = await cut({});
    assert.deepEqual(await cut({ truncation_direction: "right" }), right);
    const left = await cut({ truncation_direction: "Left" });
    assert.notDeepEqual(left, right);
    assert.deepEqual(await cut({ truncate_direction: "left" }), left);
  },

  "Chroma's /embed_sparse": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const chroma = (body, headers = CHROMA, handler = sparse.fetch) =>
      ask(handler, "/embed_sparse", body, { headers });
    const texts = ["a cat", "the dog sat"];
    for (const purpose of [{ instructions: "" }, { task: "", target: "" }, { task: null, target: null }]) {
      for (const labels of [
        { fetch_labels: true },
        { fetch_tokens: "true" },
        { fetch_labels: null },
        { fetch_tokens: "false" },
      ]) {
        const { status, json } = await chroma({ texts, ...purpose, ...labels });
        assert.equal(status, 200);
        const wanted = labels.fetch_labels === true || labels.fetch_tokens === "true";
        const item = { indices: ["number"], values: ["number"], ...(wanted && { labels: ["string"] }) };
        assert.deepEqual(shape(json), { embeddings: [item], num_tokens: "number" });
        for (const [i, vector] of (await sparse.encodeSparse(texts, { labels: wanted })).entries()) {
          assert.deepEqual(json.embeddings[i].indices, Array.from(vector.indices));
          assert.deepEqual(json.embeddings[i].labels, vector.labels);
          assert.deepEqual(
            [...vector.indices].sort((a, b) => a - b),
            Array.from(vector.indices),
          );
        }
      }
    }
    // Its clients send all texts at once, and its answer to none is none.
    const hundred = await chroma({ texts: Array(101).fill("a"), instructions: "" });
    assert.deepEqual([hundred.status, hundred.json.embeddings.length], [200, 101]);
    const none = await chroma({ texts: [], instructions: "" });
    assert.deepEqual(none, { status: 200, json: { embeddings: [], num_tokens: 0 } });
    // They have no way to ask for it: what is too long is cut off.
    const long = await chroma({ texts: [LONG], instructions: "" });
    same(long.json.embeddings[0].values, (await sparse.encodeSparse(LONG))[0].values);
    const { "x-chroma-embedding-model": _, ...nameless } = CHROMA;
    for (const [answer, status] of [
      [chroma({ texts }), 400],
      [chroma({ texts, task: "" }), 400],
      [chroma({ texts: "a", instructions: "" }), 400],
      [chroma({ instructions: "" }), 400],
      [chroma("nonsense"), 400],
      [chroma({ texts, instructions: "" }, nameless), 400],
      [chroma({ texts: Array(2049).fill("a"), instructions: "" }), 413],
      [chroma({ texts, instructions: "" }, CHROMA, dense.fetch), 501],
      [chroma({ texts, instructions: "" }, CHROMA, sparse.handler({ apiKeys: ["another"] })), 401],
    ]) {
      const { status: found, json } = await answer;
      assert.equal(found, status, JSON.stringify(json));
      assert.deepEqual(shape(json), { error: "string" });
    }
    assert.equal(
      (await chroma({ texts, instructions: "" }, CHROMA, sparse.handler({ apiKeys: ["key"] }))).status,
      200,
    );
  },

  "Chroma's dense route": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const body = { texts: ["a cat", "the dog sat"], instructions: "" };
    for (const path of ["/", "/embed"]) {
      const { status, json } = await ask(dense.fetch, path, body, { headers: CHROMA });
      assert.equal(status, 200);
      assert.deepEqual(shape(json), { embeddings: [["number"]], num_tokens: "number" });
      for (const [i, row] of rows(await dense.encode(body.texts)).entries()) same(json.embeddings[i], row);
      assert.equal((await ask(sparse.fetch, path, body, { headers: CHROMA })).status, 501);
    }
  },

  "/v1/embeddings, as OpenAI, SambaNova and Trieve have it": async ({ origin }) => {
    const [, sparse] = await both(origin);
    const dense = await embedder(origin, MINILM, "q8");
    const list = {
      object: "string",
      data: [{ object: "string", index: "number", embedding: ["number"] }],
      model: "string",
      usage: { prompt_tokens: "number", total_tokens: "number" },
    };
    const sambanova = {
      input: "The curious fox dashed through the golden field.",
      model: "E5-Mistral-7B-Instruct",
    };
    const trieve = { encoding_format: "float", input: "string", model: "null", user: "null" };
    for (const body of [sambanova, trieve, { input: ["test input", "test input 2"] }]) {
      const { status, json } = await ask(dense.fetch, "/v1/embeddings", body);
      assert.equal(status, 200);
      assert.deepEqual(shape(json), list);
      assert.equal(json.object, "list");
      assert.equal(json.data[0].object, "embedding");
      if (body.model) assert.equal(json.model, body.model);
      const encoded = await dense.encode(body.input);
      same(json.data[0].embedding, rows(encoded)[0]);
      assert.equal(
        json.usage.prompt_tokens,
        encoded.tokens.reduce((sum, count) => sum + count),
      );
    }
    const fields = {
      input: `dog ${LONG}`,
      truncate: true,
      truncate_direction: "left",
      normalize: false,
      dimensions: 5,
    };
    const { json } = await ask(dense.fetch, "/v1/embeddings", { ...fields, encoding_format: "base64" });
    const options = { truncationDirection: "left", normalize: false, dimensions: 5 };
    const bytes = Uint8Array.from(atob(json.data[0].embedding), (byte) => byte.charCodeAt(0));
    assert.deepEqual(new Float32Array(bytes.buffer), (await dense.encode(fields.input, options)).data);

    const nested = { message: "string", type: "string" };
    for (const [dialect, model, body, status, what] of [
      ["openai", dense, { input: [] }, 400, { code: "empty_input", param: "input" }],
      ["openai", dense, { input: LONG }, 400, { code: "input_too_long", type: "invalid_request_error" }],
      [
        "openai",
        dense,
        { input: "a", dimensions: 0 },
        400,
        { code: "invalid_dimensions", param: "dimensions" },
      ],
      ["openai", dense, "{", 400, { code: "invalid_json", param: null }],
      ["openai", sparse, { input: "a" }, 400, { code: "model_not_compatible", param: "model" }],
      [
        "sambanova",
        sparse,
        { input: "a" },
        400,
        { code: "model_not_compatible", param: "model", type: "invalid_request_error" },
      ],
      [
        "sambanova",
        dense,
        { input: LONG },
        400,
        { code: "invalid_request_error", type: "invalid_request_error" },
      ],
    ]) {
      const answer = await ask(model.handler({ dialect }), "/v1/embeddings", body);
      assert.equal(answer.status, status, JSON.stringify(answer.json));
      assert.hasAllKeys(answer.json, ["error"]);
      assert.hasAllKeys(answer.json.error, ["message", "type", "param", "code"]);
      assert.include(shape(answer.json.error), nested);
      assert.include(answer.json.error, what);
    }
    const locked = (dialect) =>
      ask(dense.handler({ dialect, apiKeys: ["k"] }), "/v1/embeddings", { input: "a" });
    assert.include((await locked("sambanova")).json.error, { code: "invalid_authentication" });
    assert.include((await locked("openai")).json.error, { code: "invalid_api_key" });
    assert.equal((await locked("tei")).status, 401);
    for (const [model, body, status, type] of [
      [sparse, { input: "a" }, 424, "backend"],
      [dense, { input: Array(2049).fill("a") }, 413, "validation"],
      [dense, { input: LONG }, 422, "validation"],
    ]) {
      const answer = await ask(model.handler({ dialect: "tei" }), "/v1/embeddings", body);
      assert.equal(answer.status, status);
      assert.deepEqual(shape(answer.json), { error: "string", error_type: "string" });
      assert.equal(answer.json.error_type, type);
    }
    assert.equal(
      (await failure(() => ask(dense.handler({ dialect: "french" }), "/health"))).code,
      "invalid_input",
    );
  },

  "Inworld's embedding:embed": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const model = {
      model: "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
      serviceProvider: "SERVICE_PROVIDER_INWORLD",
    };
    for (const texts of [
      ["Hello Inworld!"],
      ["Hello, how are you today?", "Hola, ¿cómo estás hoy?", "こんにちは、今日はいかがですか？"],
    ]) {
      const { status, json } = await ask(dense.fetch, INWORLD, {
        inputs: texts.map((text) => ({ text })),
        model,
      });
      assert.equal(status, 200);
      assert.deepEqual(shape(json), { embeddings: [{ values: ["number"] }] });
      for (const [i, row] of rows(await dense.encode(texts)).entries()) same(json.embeddings[i].values, row);
    }
    const inputs = [{ text: "a" }];
    for (const [handler, body, status, code] of [
      [dense.fetch, { inputs }, 400, 3],
      [dense.fetch, { model }, 400, 3],
      [dense.fetch, { inputs: ["a"], model }, 400, 3],
      [dense.fetch, { inputs: [], model }, 400, 3],
      [dense.fetch, { inputs: [{ text: LONG }], model }, 400, 3],
      [dense.fetch, { inputs, model: { ...model, serviceProvider: "SERVICE_PROVIDER_NOBODY" } }, 400, 3],
      [dense.fetch, "{", 400, 3],
      [sparse.fetch, { inputs, model }, 501, 12],
      [dense.handler({ apiKeys: ["k"] }), { inputs, model }, 401, 16],
    ]) {
      const answer = await ask(handler, INWORLD, body);
      assert.equal(answer.status, status, JSON.stringify(answer.json));
      assert.deepEqual(shape(answer.json), { code: "number", message: "string", details: [] });
      assert.equal(answer.json.code, code);
    }
    // Protobuf's JSON: names in either case, null is as good as absent, enums are names or numbers.
    const expected = (await ask(dense.fetch, INWORLD, { inputs, model })).json;
    for (const other of [
      {},
      { model: "" },
      { model: null, serviceProvider: null },
      { model: "m", serviceProvider: 1 },
      { model: "m", service_provider: "SERVICE_PROVIDER_INWORLD" },
    ]) {
      assert.deepEqual((await ask(dense.fetch, INWORLD, { inputs, model: other })).json, expected);
    }
    const headers = { ...JSON_TYPE, authorization: "Basic k" };
    assert.equal(
      (await ask(dense.handler({ apiKeys: ["k"] }), INWORLD, { inputs, model }, { headers })).status,
      200,
    );
  },

  "text-embeddings-inference's other routes": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const inputs = ["a cat", "the dog sat"];
    const embed = async (more) => (await ask(dense.fetch, "/embed", { inputs, ...more })).json;
    const expected = async (options) => rows(await dense.encode(inputs, options));
    for (const [i, row] of (await expected({ normalize: true })).entries()) same((await embed())[i], row);
    for (const [i, row] of (await expected({ normalize: false, dimensions: 4 })).entries()) {
      same((await embed({ normalize: false, dimensions: 4 }))[i], row);
    }
    const all = await ask(dense.fetch, "/embed_all", { inputs });
    const expectedStates = await dense.encodeTokens(inputs, { head: "states" });
    for (const [i, states] of expectedStates.entries()) same(all.json[i].flat(), states.data);
    const { json: scores } = await ask(dense.fetch, "/similarity", {
      inputs: { source_sentence: "a cat", sentences: ["a cat", "the dog sat"] },
    });
    assert.closeTo(scores[0], 1, 1e-6);
    assert.equal(scores.length, 2);
    const tokens = (await ask(dense.fetch, "/tokenize", { inputs })).json;
    assert.deepEqual(tokens, await dense.tokenize(inputs));
    // Slices of the text where the package has entries of the vocabulary.
    const texts = (list) => list.map(({ text }) => text);
    const cased = "The Cats bed, é";
    const [pieces] = (await ask(dense.fetch, "/tokenize", { inputs: cased })).json;
    const bytes = new TextEncoder().encode(cased);
    for (const { text, special, start, stop } of pieces) {
      if (special) assert.include(["[CLS]", "[SEP]"], text);
      else assert.equal(text, new TextDecoder().decode(bytes.subarray(start, stop)));
    }
    assert.include(texts(pieces), "The");
    assert.notInclude(texts(pieces).join(" "), "##");
    const ids = tokens.map((list) => list.map(({ id }) => id));
    assert.deepEqual((await ask(dense.fetch, "/decode", { ids })).json, inputs);
    assert.deepEqual((await ask(dense.fetch, "/decode", { ids: ids[0] })).json, inputs.slice(0, 1));
    assert.include(
      (await ask(dense.fetch, "/decode", { ids: ids[0], skip_special_tokens: false })).json[0],
      "[CLS]",
    );
    assert.equal((await ask(dense.fetch, "/decode", { ids: [1 << 30] })).status, 422);
    assert.equal((await ask(sparse.fetch, "/embed", { inputs })).status, 424);
    const { json: info } = await get(dense.fetch, "/info");
    assert.include(info, {
      // Not its address, which others have no business with.
      model_id: "tiny-bert",
      served_model_name: "tiny-bert",
      max_input_length: dense.info.maxTokens,
      model_dtype: "q8",
      max_concurrent_requests: 512,
      max_batch_tokens: 512,
      max_batch_requests: null,
      tokenization_workers: 1,
      sha: null,
      docker_label: null,
    });
    assert.deepEqual(info.model_type, { embedding: { pooling: "mean" } });
    const { json: sparseInfo } = await get(sparse.handler({ maxRequests: 7 }), "/info");
    assert.deepEqual(sparseInfo.model_type, { embedding: { pooling: "splade" } });
    assert.equal(sparseInfo.max_concurrent_requests, 7);
    for (const path of ["/ping", "/"]) assert.deepEqual(await get(dense.fetch, path), { status: 200 });
    const metrics = await dense.fetch("http://localhost/metrics");
    assert.match(await metrics.text(), /^te_queue_size 0$/m);
    for (const path of ["/health", "/ping", "/", "/info", "/v1/models", "/metrics", "/openapi.json"]) {
      const head = await dense.fetch(`http://localhost${path}`, { method: "HEAD" });
      assert.deepEqual([head.status, await head.text()], [200, ""], path);
    }
    // Empty inputs, as the router has them.
    for (const [path, body] of [
      ...["/embed", "/embed_all", "/tokenize", "/"].flatMap((path) =>
        ["", [], ["a", ""], [[]]].map((inputs) => [path, { inputs }]),
      ),
      ["/similarity", { inputs: { source_sentence: "a", sentences: [] } }],
      ["/similarity", { inputs: { source_sentence: "", sentences: ["a"] } }],
      ["/decode", { ids: [] }],
    ]) {
      const { status, json } = await ask(dense.fetch, path, body);
      assert.deepEqual([status, json.error_type], [400, "empty"], `${path} ${JSON.stringify(body)}`);
    }
    // Fields that it does not know are passed over.
    assert.deepEqual(
      (await ask(dense.fetch, "/embed", { inputs, options: { wait_for_model: true } })).json,
      await embed(),
    );
    // Both spellings at once, if they agree.
    const spellings = { truncation_direction: "left", truncate_direction: "Left", truncate: true };
    assert.equal((await ask(dense.fetch, "/embed", { inputs, ...spellings })).status, 200);
    const torn = { ...spellings, truncate_direction: "right" };
    assert.equal((await ask(dense.fetch, "/embed", { inputs, ...torn })).status, 422);
    assert.deepEqual(await get(dense.fetch, "/health"), { status: 200 });
    const { json: models } = await get(dense.fetch, "/v1/models");
    assert.deepEqual(shape(models), {
      object: "string",
      data: [{ id: "string", object: "string", created: "number", owned_by: "string" }],
    });
    assert.deepEqual((await get(dense.fetch, "/v1/models/tiny-bert")).json, models.data[0]);
    const missing = await get(dense.fetch, "/v1/models/nobody");
    assert.deepEqual([missing.status, missing.json.error.code], [404, "model_not_found"]);
  },

  "POST / by its body": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const inputs = ["a cat", "the dog sat"];
    const root = async (handler, body, headers) =>
      (await ask(handler, "/", body, headers && { headers })).json;
    const { json: vectors } = await ask(dense.fetch, "/embed", { inputs });
    assert.deepEqual(await root(dense.fetch, { inputs }), vectors);
    // The word in the body is TEI's, whatever the headers are.
    assert.deepEqual(await root(dense.fetch, { inputs }, CHROMA), vectors);
    const { json: entries } = await ask(sparse.fetch, "/embed_sparse", { inputs });
    assert.deepEqual(await root(sparse.fetch, { inputs }), entries);
    const pair = { source_sentence: "a cat", sentences: inputs };
    const { json: scores } = await ask(dense.fetch, "/similarity", { inputs: pair });
    assert.deepEqual(await root(dense.fetch, { inputs: pair }), scores);
    const texts = await root(dense.fetch, { texts: inputs, instructions: "" }, CHROMA);
    assert.deepEqual(texts.embeddings, vectors);
  },

  "messages speak of HTTP": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const inworld = (text) => ({ inputs: [{ text }], model: { model: "" } });
    for (const [handler, path, body, headers] of [
      [sparse.fetch, "/v1/embeddings", { input: "a" }],
      [sparse.fetch, "/embed", { inputs: "a" }],
      [sparse.fetch, "/embed_all", { inputs: "a" }],
      [sparse.fetch, INWORLD, inworld("a")],
      [dense.fetch, "/embed_sparse", { inputs: "a" }],
      [dense.fetch, "/embed_sparse", { texts: ["a"], instructions: "" }, CHROMA],
      [dense.fetch, INWORLD, inworld("cat ".repeat(200))],
      [dense.fetch, INWORLD, inworld(LONG)],
    ]) {
      const { status, json } = await ask(handler, path, body, headers && { headers });
      assert.isAtLeast(status, 400);
      const text = JSON.stringify(json);
      assert.notMatch(text, /[a-z][A-Z]|http:|fixtures/, path);
      if (path === INWORLD) assert.notInclude(text, "truncate");
    }
  },

  "what is no route, or another method, or too large": async ({ origin }) => {
    const [dense] = await both(origin);
    // As servers call it, with their environment.
    const request = new Request("http://localhost/v1/embeddings", { method: "POST", body: '{"input":"a"}' });
    assert.equal((await dense.fetch(request, { method: "a binding", body: 7 })).status, 200);
    assert.equal((await ask(dense.fetch, "/v2/embeddings", {})).status, 404);
    const wrong = await dense.fetch("http://localhost/v1/embeddings");
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.get("allow"), "POST");
    assert.equal((await ask(dense.fetch, "/info", {})).status, 405);
    const { json: document } = await get(dense.fetch, "/openapi.json");
    assert.equal(document.openapi, "3.1.0");
    assert.containsAllKeys(document.paths, ["/v1/embeddings", "/embed", "/embed_sparse", "/", INWORLD]);
    // Without `cors` no other page may ask; with it a preflight has an answer without a body.
    const preflight = { "access-control-request-method": "POST" };
    const options = { method: "OPTIONS", headers: preflight };
    for (const handler of [dense.fetch, dense.handler({ cors: true })]) {
      // The browser's own requests have no origin here.
      assert.equal((await ask(handler, "/v1/embeddings", undefined, options)).status, 405);
    }
    const large = { input: "a".repeat(17 << 20) };
    assert.equal((await ask(dense.fetch, "/v1/embeddings", large)).status, 413);
    const narrow = dense.handler({ maxBodyBytes: 20 });
    const tei = await ask(narrow, "/embed", { inputs: "a cat on a mat" });
    assert.deepEqual([tei.status, tei.json.error_type], [413, "validation"]);
    assert.equal((await ask(narrow, "/embed", { inputs: "a cat" })).status, 200);
  },

  "several models behind one handler": async ({ origin }) => {
    const [dense, sparse] = await both(origin);
    const models = { dense: `${origin}/${TINY}`, "prithivida/Splade_PP_en_v1": `${origin}/${SPLADE}` };
    const server = serve({ models, load: { dtype: "q8" } });
    const { json: list } = await get(server.fetch, "/v1/models");
    assert.deepEqual(
      list.data.map(({ id }) => id),
      Object.keys(models),
    );
    const one = async (model) => ask(server.fetch, "/v1/embeddings", { input: "a cat", ...model });
    const { data } = await dense.encode("a cat");
    for (const model of [{ model: "dense" }, {}]) same((await one(model)).json.data[0].embedding, data);
    assert.equal(
      (await one({ model: "prithivida/Splade_PP_en_v1" })).json.error.code,
      "model_not_compatible",
    );
    const unknown = await one({ model: "text-embedding-3-small" });
    assert.equal(unknown.status, 404);
    assert.include(unknown.json.error, { code: "model_not_found", param: "model" });
    const body = { texts: ["a cat"], instructions: "" };
    const chroma = await ask(server.fetch, "/embed_sparse", body, { headers: CHROMA });
    same(chroma.json.embeddings[0].values, (await sparse.encodeSparse("a cat"))[0].values);
    const nobody = { ...CHROMA, "x-chroma-embedding-model": "nobody/nothing" };
    const refused = await ask(server.fetch, "/embed_sparse", body, { headers: nobody });
    assert.deepEqual([refused.status, shape(refused.json)], [400, { error: "string" }]);
    const inworld = {
      inputs: [{ text: "a cat" }],
      model: { model: "dense", serviceProvider: "SERVICE_PROVIDER_INWORLD" },
    };
    same((await ask(server.fetch, INWORLD, inworld)).json.embeddings[0].values, data);
    const unnamed = { ...inworld, model: { model: "" } };
    same((await ask(server.fetch, INWORLD, unnamed)).json.embeddings[0].values, data);
    const wrong = { ...inworld, model: { ...inworld.model, model: "nobody" } };
    const { status, json } = await ask(server.fetch, INWORLD, wrong);
    assert.deepEqual([status, json.code], [404, 5]);
    // Without a name, and with what stands for none, the first that gives what is asked for.
    for (const names of [
      ["dense", "sparse"],
      ["sparse", "dense"],
    ]) {
      const sources = { dense: models.dense, sparse: models["prithivida/Splade_PP_en_v1"] };
      const ordered = Object.fromEntries(names.map((name) => [name, sources[name]]));
      const either = serve({ models: ordered, load: { dtype: "q8" } });
      for (const model of [{}, { model: "" }, { model: "null" }, { model: null }]) {
        const one = await ask(either.fetch, "/v1/embeddings", { input: "a cat", ...model });
        same(one.json.data[0].embedding, data);
        const [entries] = (await ask(either.fetch, "/embed_sparse", { inputs: "a cat", ...model })).json;
        same(
          entries.map(({ value }) => value),
          (await sparse.encodeSparse("a cat"))[0].values,
        );
      }
      either.dispose();
    }
    server.dispose();
    assert.equal((await failure(async () => serve({ models: {} }))).code, "invalid_input");
    assert.equal((await failure(async () => serve({ models, default: "x" }))).code, "invalid_input");
  },

  "models are let go beyond the budget, and loaded again": async ({ origin }) => {
    let loads = 0;
    const onProgress = ({ status }) => status === "ready" && loads++;
    const models = { a: `${origin}/${TINY}`, b: `${origin}/${TINY}`, absent: `${origin}/nowhere/` };
    const server = serve({ models, memoryBudget: 1, load: { onProgress } });
    const use = (model) => ask(server.fetch, "/v1/embeddings", { input: "a cat", model });
    const [first] = await Promise.all([use("a"), use("b"), use("a")]);
    assert.equal(loads, 2);
    for (const name of ["a", "b", "a"]) assert.deepEqual((await use(name)).json.data, first.json.data);
    assert.isAtLeast(loads, 4);
    server.dispose();
  },

  "a thousand requests at once, of which 64 may wait": async ({ origin }) => {
    const [dense] = await both(origin);
    const handler = dense.handler({ maxRequests: 64 });
    const inputs = (i) => Array.from({ length: 1 + (i % 7) * (i % 5) }, (_, j) => `the dog ${i} sat ${j}`);
    const storm = async () => {
      const requests = Array.from({ length: 1000 }, (_, i) =>
        ask(handler, "/v1/embeddings", { input: inputs(i), encoding_format: "base64" }),
      );
      const answers = await Promise.all(requests);
      const served = answers.filter(({ status }) => status === 200).length;
      assert.isAtLeast(served, 64);
      assert.isBelow(served, 1000);
      return answers;
    };
    for (const [i, { status, json }] of (await storm()).entries()) {
      if (status === 200) {
        const { data } = await dense.embeddings.create({ input: inputs(i), encoding_format: "base64" });
        assert.deepEqual(json.data, data);
      } else {
        assert.equal(status, 429);
        assert.equal(json.error.code, "rate_limit_exceeded");
      }
    }
    // Nothing of a storm is left behind that the next one could not use: five in a row take no page
    // more. Which requests run together is chance, so the greatest need may come late; what leaks
    // comes each time.
    for (let flat = 0, storms = 0; flat < 5; storms++) {
      assert.isBelow(storms, 60, "memory grows from storm to storm");
      const before = dense.info.memoryBytes;
      await storm();
      flat = dense.info.memoryBytes === before ? flat + 1 : 0;
    }
    assert.equal((await ask(handler, "/v1/embeddings", { input: "a" })).status, 200);
  },

  "a request that takes too long, or whose client goes away": async ({ origin }) => {
    const [dense] = await both(origin);
    const input = Array(2000).fill("the dog sat on the mat");
    for (const [dialect, code] of [
      ["openai", "request_timeout"],
      ["sambanova", "request_timeout"],
    ]) {
      const late = await ask(dense.handler({ dialect, timeout: 1 }), "/v1/embeddings", { input });
      assert.equal(late.status, 408);
      assert.equal(late.json.error.code, code);
    }
    const tei = await ask(dense.handler({ dialect: "tei", timeout: 1 }), "/v1/embeddings", { input });
    assert.deepEqual([tei.status, tei.json.error_type], [408, "timeout"]);
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("gone")), 10);
    const options = { method: "POST", body: JSON.stringify({ input }), signal: controller.signal };
    const error = await failure(() => dense.fetch("http://localhost/v1/embeddings", options));
    assert.equal(error.message, "gone");
    for (const [dialect, status, code] of [
      ["openai", 429, "rate_limit_exceeded"],
      ["sambanova", 429, "insufficient_quota"],
    ]) {
      const full = await ask(dense.handler({ dialect, maxRequests: 0 }), "/v1/embeddings", { input: "a" });
      assert.deepEqual([full.status, full.json.error.code], [status, code]);
    }
    const full = dense.handler({ maxRequests: 0 });
    assert.deepEqual((await ask(full, "/embed_sparse", { inputs: "a" })).json.error_type, "overloaded");
    const chroma = await ask(full, "/embed_sparse", { texts: ["a"], instructions: "" }, { headers: CHROMA });
    assert.deepEqual([chroma.status, shape(chroma.json)], [429, { error: "string" }]);
    assert.equal((await ask(full, INWORLD, { inputs: [] })).json.code, 8);
  },
};
