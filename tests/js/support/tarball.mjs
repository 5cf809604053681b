/** The package as it would be published. */

import { join } from "node:path";
import { run } from "./child.mjs";
import { root } from "./server.mjs";

/**
 * Where xtask installs what the package is checked and bundled with; `npm ci` there has the same
 * effect.
 */
export const tools = join(process.env.GOSSAMER_TARGET ?? `${root}target`, "bundlers");

/** Packs it into a folder: the tarball's path. */
export async function pack(folder) {
  const args = ["pack", "--json", "--pack-destination", folder];
  const { stdout } = await run("npm", args, { cwd: `${root}pkg` });
  const [{ filename }] = JSON.parse(stdout);
  return join(folder, filename);
}

/** Unpacks a tarball as npm would. */
export async function unpack(tarball, folder) {
  await run("tar", ["xzf", tarball, "-C", folder, "--strip-components=1"]);
}
