/** Fixtures as models that any program reads. */

import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chunks } from "./synthetic.mjs";

/** A copy of a fixture, with its listed weights as files. */
export async function materialise(from, to) {
  await cp(from, to, { recursive: true });
  for (const name of await readdir(to, { recursive: true })) {
    if (!name.endsWith(".safetensors.json")) continue;
    const rows = JSON.parse(await readFile(join(to, name), "utf8"));
    await writeFile(join(to, name.slice(0, -".json".length)), Buffer.concat([...chunks(rows)]));
  }
}
