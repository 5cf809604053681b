/** Runs the shared cases in any runtime; prints `{ passed, failures }`. */

import { topics } from "../cases/all.mjs";

const [, , origin] = process.argv;
const failures = {};
let passed = 0;
for (const [topic, cases] of Object.entries(topics)) {
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run({ origin });
      passed++;
    } catch (error) {
      failures[`${topic}: ${name}`] = error.stack;
    }
  }
}
console.log(JSON.stringify({ passed, failures }));
process.exit();
