/**
 * Texts of many megabytes, tokenised and split in this thread: the event loop runs meanwhile, and
 * an abort is heard.
 */

import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { failure, TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";

const SENTENCE = "The cat sat on the mat. ";
/** 10 MB */
const LARGE = SENTENCE.repeat(10_000_000 / SENTENCE.length);
/** A text in which there is no place to cut, 900 KB in UTF-8. */
const QUOTES = "\u{201d}".repeat(300_000);
/** Bytes that a step works on, as `STEP` in src/text/mod.rs says. */
const STEP = 1 << 15;

let model;
before(async () => {
  model = await load(`${root}${TINY}`);
});
after(() => model.dispose());

/**
 * What a call gives, and how often the event loop came round meanwhile. `turn` is told of each
 * time.
 */
async function turns(call, turn = () => {}) {
  let count = 0;
  let running = true;
  const again = () => {
    count++;
    turn(count);
    if (running) setImmediate(again);
  };
  setImmediate(again);
  try {
    return { result: await call(), count };
  } finally {
    running = false;
  }
}

const calls = {
  chunk: (text, options) => model.chunk(text, { chunkSize: 32, ...options }),
  tokenize: (text, options) => model.tokenize(text, options),
  encodeChunks: (text, options) => model.encodeChunks(text, { chunkSize: 32, ...options }),
};

describe("steps", () => {
  test("tokens of a large text are those of its parts, found in many steps", async () => {
    const [own] = await model.tokenize(SENTENCE, { addSpecialTokens: false });
    const times = 50_000;
    const { result, count } = await turns(() => model.tokenize(SENTENCE.repeat(times)));
    const [tokens] = result;
    assert.isAbove(count, (SENTENCE.length * times) / STEP);
    assert.equal(tokens.length, own.length * times + 2);
    for (const at of [0, 1, 777, times - 1]) {
      const moved = own.map((token) => ({
        ...token,
        start: token.start + at * SENTENCE.length,
        stop: token.stop + at * SENTENCE.length,
      }));
      assert.deepEqual(tokens.slice(1 + at * own.length, 1 + (at + 1) * own.length), moved);
    }
    assert.deepEqual([tokens[0].special, tokens.at(-1).special], [true, true]);
  });

  test("chunks of 10 MB are those of its parts, found in many steps", async () => {
    const { result, count } = await turns(() => calls.chunk(LARGE));
    const [chunks] = result;
    assert.isAbove(count, LARGE.length / STEP);
    const [first] = await calls.chunk(LARGE.slice(0, 2 * chunks[100].end));
    assert.deepEqual(chunks.slice(0, 100), first.slice(0, 100));
    assert.equal(chunks.at(-1).end, LARGE.trimEnd().length);
    assert.isTrue(chunks.every(({ start }, at) => at === 0 || start === chunks[at - 1].end + 1));
  });

  test("300,000 closing quotes take many steps", async () => {
    for (const name of ["chunk", "tokenize"]) {
      const { result, count } = await turns(() => calls[name](QUOTES));
      assert.isAbove(count, (3 * QUOTES.length) / STEP, name);
      const [list] = result;
      if (name === "chunk") assert.equal(list.at(-1).end, QUOTES.length);
      else assert.lengthOf(list, QUOTES.length + 2);
    }
  });

  for (const [name, call] of Object.entries(calls)) {
    for (const [what, text] of Object.entries({ "10 MB": LARGE, quotes: QUOTES })) {
      test(`an abort is heard in the middle of ${name}: ${what}`, async () => {
        const controller = new AbortController();
        let last = 0;
        const { result } = await turns(
          () => failure(() => call(text, { signal: controller.signal })),
          (count) => {
            if (count === 8) controller.abort("enough");
            last = count;
          },
        );
        assert.equal(result.code, "aborted");
        assert.equal(result.cause, "enough");
        // One more step may have been under way.
        assert.isAtMost(last, 10);
        // The model goes on.
        assert.lengthOf((await model.tokenize("The cat"))[0], 4);
      });
    }
  }

  test("an abort after 50 ms is heard before the work could be done", async () => {
    for (const name of ["chunk", "tokenize"]) {
      const controller = new AbortController();
      setTimeout(() => controller.abort("enough"), 50);
      const error = await failure(() => calls[name](LARGE, { signal: controller.signal }));
      assert.equal(error.code, "aborted", name);
    }
  });
});
