/** Token ids on strings that tokenizers stumble over, against PyPI's tokenizers. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { reference, texts } from "../support/models.mjs";

const KINDS = { wordpiece: "tiny-bert", unigram: "tiny-m3", bpe: "tiny-qwen3" };

export const cases = Object.fromEntries(
  Object.entries(KINDS).map(([kind, folder]) => [
    `ids of 300 nasty strings: ${kind}`,
    async ({ origin }) => {
      const inputs = await texts(origin, "nasty.json");
      assert.isAtLeast(inputs.length, 300);
      const theirs = await reference(origin, "nasty-ids.safetensors");
      const [ids, offsets] = [theirs[`${kind}_ids`].data, theirs[`${kind}_offsets`].data];
      const model = await load(`${origin}/tests/fixtures/${folder}/`);
      const ours = await model.tokenize(inputs);
      for (const [i, tokens] of ours.entries()) {
        const expected = Array.from(ids.subarray(offsets[i], offsets[i + 1]));
        assert.deepEqual(
          tokens.map(({ id }) => id),
          expected,
          JSON.stringify(inputs[i]),
        );
      }
      model.dispose();
    },
  ]),
);
