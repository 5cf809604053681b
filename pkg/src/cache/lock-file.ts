/** Locks between processes, for which Node has no call: a folder that one of them makes, and touches while it lives. */

import { mkdir, rm, stat, utimes } from "node:fs/promises";
import { checkAborted } from "../errors.js";

/** Milliseconds between looks at a lock that another has. */
const LOOK = 50;
/** Milliseconds between touches. */
const TOUCH = 1000;
/** Milliseconds without a touch after which its owner is taken to have died. */
const DEAD = 10_000;

/** Waits for a lock; answers with what gives it back. */
export async function lockFile(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  for (;;) {
    checkAborted(signal);
    try {
      await mkdir(path);
      break;
    } catch (error) {
      if ((error as { code?: unknown }).code !== "EEXIST") throw error;
    }
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now();
    if (Date.now() - touched > DEAD) await rm(path, { recursive: true, force: true });
    else await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, TOUCH);
  return async () => {
    clearInterval(timer);
    await rm(path, { recursive: true, force: true });
  };
}
