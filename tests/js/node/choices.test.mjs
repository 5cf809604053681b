/** Which weight file of a repository is downloaded. The crate chooses alike from the same cases. */

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { listen } from "../support/child.mjs";
import { failure } from "../support/models.mjs";
import { root } from "../support/server.mjs";

const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const cases = JSON.parse(readFileSync(join(root, "tests/fixtures/choices.json"), "utf8"));

/** A Hub that lists the files of a case, `choices/<number>`, and has none of them. */
const server = createServer((request, response) => {
  const [, number] = /^\/api\/models\/choices\/(\d+)\//.exec(request.url) ?? [];
  if (number === undefined) return response.writeHead(404).end("gone");
  const siblings = Object.entries(cases[number].files).map(([rfilename, size]) => ({ rfilename, size }));
  return response.end(JSON.stringify({ sha: COMMIT, siblings }));
});
let endpoint;
before(async () => {
  endpoint = `http://127.0.0.1:${await listen(server)}`;
});
after(() => server.close());

for (const [number, { about, files, chosen, dtype, download }] of cases.entries()) {
  test(about, async () => {
    const events = [];
    const error = await failure(() =>
      load(`choices/${number}`, {
        endpoint,
        dtype,
        download,
        cache: false,
        onProgress: (event) => events.push(event),
      }),
    );
    // What is listed and not there is an error that names it, and nothing is loaded in its place.
    const [named] = chosen;
    const weights = events.filter(({ file }) => file !== undefined && !/\.json$/.test(file));
    if (named === null) {
      assert.deepEqual(weights, []);
      assert.include(["network", "not_found"], error.code);
    } else {
      // Its bytes are known before it is requested.
      const [first] = events;
      assert.deepEqual(first, {
        status: "initiate",
        name: `choices/${number}`,
        file: named,
        ...(files[named] !== null && { total: files[named] }),
      });
      assert.equal(error.code, "network", error.message);
      assert.match(error.message, /is no longer there/);
    }
  });
}
