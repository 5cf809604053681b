/** The official `openai` client, with an embedder in the place of a server. */

import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { GossamerError } from "gossamer-embed";
import OpenAI from "openai";
import { embedder, failure, rows, TINY } from "./support/models.mjs";
import { serve } from "./support/server.mjs";

let server;
let model;
let client;
/** Bodies that the client sent. */
const sent = [];

before(async () => {
  server = await serve();
  model = await embedder(server.origin, TINY, "q8");
  client = new OpenAI({
    apiKey: "unused",
    fetch: async (_url, { body, signal }) => {
      sent.push(JSON.parse(body));
      try {
        return Response.json(await model.embeddings.create(sent.at(-1), { signal }));
      } catch (error) {
        assert.instanceOf(error, GossamerError);
        const { code, message, status } = error;
        return Response.json(
          { error: { message, code, type: "invalid_request_error", param: null } },
          { status },
        );
      }
    },
  });
});
after(() => server.close());

describe("the official client", () => {
  test("asks for base64, and reads the vectors that encode gives", async () => {
    const input = ["a cat", "the dog sat on the mat"];
    const answer = await client.embeddings.create({ model: "tiny", input });
    assert.equal(sent.at(-1).encoding_format, "base64");
    const expected = await model.encode(input);
    for (const [i, row] of rows(expected).entries()) {
      assert.deepEqual(Float32Array.from(answer.data[i].embedding), row);
    }
    assert.equal(
      answer.usage.total_tokens,
      expected.tokens.reduce((sum, count) => sum + count),
    );
    assert.equal(answer.model, "tiny");
  });

  test("gets the same numbers as floats, from token ids too", async () => {
    const base64 = await client.embeddings.create({ model: "tiny", input: "a cat" });
    const float = await client.embeddings.create({ model: "tiny", input: "a cat", encoding_format: "float" });
    assert.deepEqual(float, base64);
    const [tokens] = await model.tokenize("a cat");
    const input = tokens.map((token) => token.id);
    assert.deepEqual(await client.embeddings.create({ model: "tiny", input }), base64);
    assert.deepEqual((await client.embeddings.create({ model: "tiny", input: [input] })).data, base64.data);
  });

  test("gets fewer dimensions", async () => {
    const { data } = await client.embeddings.create({ model: "tiny", input: "a cat", dimensions: 7 });
    assert.equal(data[0].embedding.length, 7);
    assert.closeTo(Math.hypot(...data[0].embedding), 1, 1e-6);
  });

  test("throws its own errors", async () => {
    for (const [body, code] of [
      [{ input: [] }, "empty_input"],
      [{ input: "" }, "empty_input"],
      [{ input: "a", dimensions: 0 }, "invalid_dimensions"],
      [{ input: [99999] }, "token_out_of_range"],
    ]) {
      const error = await failure(() => client.embeddings.create({ model: "tiny", ...body }));
      assert.instanceOf(error, OpenAI.BadRequestError);
      assert.equal(error.code, code);
    }
  });
});
