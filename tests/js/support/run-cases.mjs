/** Runs the shared cases in any runtime, or one topic of another list; prints `{ passed, failures }`. */

const [, , origin, list = "all", only] = process.argv;
const { topics } = await import(`../cases/${list}.mjs`);
const failures = {};
let passed = 0;
for (const [topic, cases] of Object.entries(only ? { [only]: topics[only] } : topics)) {
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
