/**
 * Loads a model of the Hub and embeds a text, in a process of its own; prints the milliseconds that
 * took.
 */

import { load } from "gossamer-embed";

const begin = performance.now();
const model = await load(process.argv[2]);
const { shape } = await model.encode("Ships at night");
console.log(performance.now() - begin);
if (shape[1] !== 384 || !(await model.cached)) process.exitCode = 1;
model.dispose();
