/**
 * Prints the digests that engines must agree about, as JSON; run by other runtimes than the tests'
 * own. Arguments: origin, and the wasm build to take ("simd128" or "relaxed"; else the engine's own
 * choice).
 */

import { readFile } from "node:fs/promises";
import { init } from "gossamer-embed";
import { digests } from "../cases/bits.mjs";
import { embedder, TINY } from "./models.mjs";
import { root } from "./server.mjs";

const [origin, build] = process.argv.slice(2);
if (build) await init({ bytes: await readFile(`${root}pkg/dist/wasm/${build}.wasm`) });
const { simd, dotKernel } = (await embedder(origin, TINY, "q8")).info;
console.log(JSON.stringify({ simd, dotKernel, digests: await digests({ origin }) }));
