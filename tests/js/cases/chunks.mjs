/** Long texts in chunks, and their vectors. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { embedder, failure, MINILM, rows, SPLADE, TINY } from "../support/models.mjs";

const CLS = "tests/fixtures/tiny-m3/";
const STORY = `The cat sat on the mat. It was a 😀 mat, naïve and old! Was the dog there? "Yes," said the cat.
猫坐在垫子上。狗不在那里。

Another day, the dog sat on the mat, and on it sat the cat, and on the cat sat a mouse which had no mat of its own, and
so on and so forth without any end that one could see from where they sat. Then it rained.`;
const LONG = Array(12).fill(STORY).join("\n\n");

const length = async (model, text, options) => (await model.tokenize(text, options))[0].length;
const compact = (text) => text.replace(/\s/gu, "");

/** The mean of some rows, of length 1. */
function mean(states, width, from, to) {
  const sum = new Float64Array(width);
  for (let i = from; i < to; i++) for (let j = 0; j < width; j++) sum[j] += states[i * width + j];
  const norm = Math.hypot(...sum);
  return sum.map((x) => x / norm);
}

function assertNear(ours, theirs, what) {
  assert.equal(ours.length, theirs.length, what);
  for (const [i, x] of ours.entries()) assert.closeTo(x, theirs[i], 2e-6, what);
}

export const cases = {
  "chunks are parts of the text that fit, one after the other": async ({ origin }) => {
    for (const folder of [TINY, "tests/fixtures/tiny-m3/", "tests/fixtures/tiny-qwen3/"]) {
      const model = await embedder(origin, folder, "q8");
      const added = await length(model, "");
      for (const chunkSize of [added + 1, 9, 17, 32]) {
        const [chunks] = await model.chunk(LONG, { chunkSize });
        assert.isAbove(chunks.length, 12);
        let [end, token] = [0, 0];
        for (const chunk of chunks) {
          assert.equal(chunk.text, LONG.slice(chunk.start, chunk.end));
          assert.equal(chunk.text, chunk.text.trim());
          assert.isAtLeast(chunk.start, end);
          // A token of white space is in no chunk, or in none with others.
          assert.isAtLeast(chunk.firstToken, token);
          // A character may be more than one token.
          if (chunkSize > 9) assert.isAtMost(await length(model, chunk.text), chunkSize, chunk.text);
          ({ end } = chunk);
          token = chunk.endToken;
        }
        assert.equal(compact(chunks.map(({ text }) => text).join("")), compact(LONG));
        assert.equal(token, await length(model, LONG.trim(), { addSpecialTokens: false }));
      }
    }
  },

  "cuts are at the ends of sentences, and overlaps begin where one does": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    const [chunks] = await model.chunk(LONG, { chunkSize: 60 });
    for (const { text } of chunks) assert.match(text, /[.。"]$/u, text);
    const [overlapping] = await model.chunk(LONG, { chunkSize: 40, overlap: 14 });
    let overlaps = 0;
    for (const [i, chunk] of overlapping.entries()) {
      const before = overlapping[i - 1];
      if (!before) continue;
      assert.isAbove(chunk.firstToken, before.firstToken);
      assert.isAtMost(before.endToken - chunk.firstToken, 14);
      if (chunk.firstToken < before.endToken) overlaps++;
      assert.isAtMost(await length(model, chunk.text), 40);
    }
    assert.isAbove(overlaps, overlapping.length / 3);
    const words = Array(50).fill("word").join(" ");
    const [first, second] = (await model.chunk(words, { chunkSize: 22, overlap: 5 }))[0];
    assert.deepEqual([first.endToken, second.firstToken], [20, 15]);
  },

  "each chunk's vector is that of its text": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const list = [LONG, "", "a cat", "  \n ", STORY];
    const options = { chunkSize: 20, overlap: 4, prompt: "query: ", dimensions: 20 };
    const all = await model.encodeChunks(list, options);
    assert.lengthOf(all, 5);
    const chunked = await model.chunk(list, { chunkSize: 20, overlap: 4, prompt: "query: " });
    for (const [i, { chunks, data, shape, tokens, truncated }] of all.entries()) {
      assert.deepEqual(chunks, chunked[i]);
      assert.deepEqual(shape, [chunks.length, 20]);
      if (chunks.length === 0) continue;
      const texts = chunks.map(({ text }) => text);
      const expected = await model.encode(texts, { prompt: "query: ", dimensions: 20 });
      assert.deepEqual(data, expected.data);
      assert.deepEqual(tokens, expected.tokens);
      assert.isTrue(tokens.every((count) => count <= 20));
      assert.deepEqual(
        truncated,
        texts.map(() => false),
      );
    }
    assert.deepEqual(
      all.map(({ chunks }) => chunks.length > 0),
      [true, false, true, false, true],
    );
    assert.deepEqual((await model.encodeChunks("a cat"))[0].data, (await model.encode("a cat")).data);
  },

  "late chunks are means of states of the whole": async ({ origin }) => {
    for (const folder of [TINY, MINILM]) {
      const model = await embedder(origin, folder, "f32");
      const text = folder === TINY ? STORY.slice(0, 50) : STORY;
      const [{ chunks, data, shape, tokens }] = await model.encodeChunks(text, { late: true, chunkSize: 14 });
      assert.isAbove(chunks.length, 1);
      const [states] = await model.encodeTokens(text, { head: "states" });
      const found = rows({ data, shape });
      for (const [i, { firstToken, endToken }] of chunks.entries()) {
        // [CLS] belongs to the first chunk, [SEP] to the last.
        const from = i === 0 ? 0 : firstToken + 1;
        const to = i === chunks.length - 1 ? states.shape[0] : endToken + 1;
        assert.equal(tokens[i], to - from);
        assertNear(found[i], mean(states.data, shape[1], from, to), `chunk ${i}`);
      }
      // What a chunk's vector knows of its neighbours.
      const alone = await model.encode(chunks.map(({ text }) => text));
      const cosine = model.similarity(found[1], rows(alone)[1]);
      assert.isBelow(cosine, 0.999);
    }
  },

  "a text of one late chunk has its usual vector": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    const text = STORY.trim();
    const [late] = await model.encodeChunks(text, { late: true });
    assert.lengthOf(late.chunks, 1);
    assert.deepEqual(late.data, (await model.encode(text)).data);
  },

  "a text that the model cannot take whole is read in passes that overlap": async ({ origin }) => {
    const model = await embedder(origin, TINY, "f32");
    const { maxTokens } = model.info;
    const [{ chunks, data, shape }] = await model.encodeChunks(LONG, { late: true, chunkSize: 12 });
    const found = rows({ data, shape });
    // The first pass has all chunks that fit.
    let end = 0;
    while ((await length(model, LONG.slice(0, chunks[end].end))) <= maxTokens) end++;
    assert.isAbove(end, 1);
    const [first] = await model.encodeTokens(LONG.slice(0, chunks[end - 1].end), { head: "states" });
    for (let i = 0; i < end; i++) {
      const from = i === 0 ? 0 : chunks[i].firstToken + 1;
      assertNear(found[i], mean(first.data, shape[1], from, chunks[i].endToken + 1), `chunk ${i}`);
    }
    // The second begins with the last one of these.
    const before = chunks[end - 1];
    let last = end;
    while ((await length(model, LONG.slice(before.start, chunks[last].end))) <= maxTokens) last++;
    const [second] = await model.encodeTokens(LONG.slice(before.start, chunks[last - 1].end), {
      head: "states",
    });
    for (let i = end; i < last; i++) {
      const from = chunks[i].firstToken - before.firstToken + 1;
      const to = chunks[i].endToken - before.firstToken + 1;
      assertNear(found[i], mean(second.data, shape[1], from, to), `chunk ${i}`);
    }
    assert.isAbove(last, end);
  },

  "what cannot be chunked is refused in words": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const [cls, sparse] = [await embedder(origin, CLS, "q8"), await embedder(origin, SPLADE, "q8")];
    for (const [call, code, word] of [
      [() => cls.encodeChunks(STORY, { late: true }), "invalid_input", "mean pooling"],
      [() => sparse.encodeChunks(STORY), "wrong_model_kind", "sparse"],
      [() => model.encodeChunks(STORY, { chunkSize: 2 }), "invalid_input", "from 3 to 32"],
      [() => model.chunk(STORY, { chunkSize: 33 }), "invalid_input", "from 3 to 32"],
      [() => model.chunk(STORY, { chunkSize: 10, overlap: 8 }), "invalid_input", "less than the 8 tokens"],
      [() => model.chunk(STORY, { chunkSize: 1.5 }), "invalid_input", "chunkSize is 1.5"],
      [() => model.chunk(STORY, { overlap: -1 }), "invalid_input", "overlap is -1"],
      [() => model.encodeChunks(STORY, { late: "yes" }), "invalid_input", "true or false"],
      [() => model.chunk(STORY, { size: 5 }), "invalid_input", "size"],
      [() => model.chunk([[1, 2, 3]]), "invalid_input", "token ids"],
      [() => model.encodeChunks([[1, 2, 3]]), "invalid_input", "token ids"],
      [() => model.chunk(7), "invalid_input", "texts"],
    ]) {
      const error = await failure(call);
      assert.equal(error.code, code, error.message);
      assert.include(error.message, word);
    }
    assert.isAbove((await sparse.chunk(STORY, { chunkSize: 10 }))[0].length, 5);
  },

  "aborts in the middle": async ({ origin }) => {
    const model = await load(`${origin}/${TINY}`, { workers: 1 });
    const controller = new AbortController();
    setTimeout(() => controller.abort("enough"), 20);
    const list = Array(400).fill(LONG);
    const error = await failure(() => model.encodeChunks(list, { chunkSize: 20, signal: controller.signal }));
    assert.equal(error.code, "aborted");
    model.dispose();
  },
};
