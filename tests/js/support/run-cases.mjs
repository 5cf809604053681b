/**
 * Runs the shared cases in any runtime, or some topics of any list, by a comma; prints
 * `{ passed, failures }`.
 */

const [, , origin, list = "all", only] = process.argv;
const { topics } = await import(`../cases/${list}.mjs`);
const failures = {};
let passed = 0;
for (const topic of only?.split(",") ?? Object.keys(topics)) {
  for (const [name, run] of Object.entries(topics[topic])) {
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
