/**
 * Locks between processes, for which Node has no call: a folder that one of them makes, with a file in it that is its own and
 * that it touches while it lives.
 */

import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkAborted } from "../errors.js";

/** Milliseconds between looks at a lock that another has. */
const LOOK = 50;
/** Milliseconds between touches. */
const TOUCH = 1000;
/** Looks, ten seconds of them, at a lock that does not change, after which its owner is taken to have died. */
const DEAD = 200;

/** A lock that was taken. */
export interface FileLock {
  /** Whether it still is: others take it from a process that has slept for long. */
  isHeld(): Promise<boolean>;
  /** Gives it back. */
  release(): Promise<void>;
}

/** Waits for a lock. */
export async function lockFile(path: string, signal: AbortSignal | undefined): Promise<FileLock> {
  const own = join(path, randomUUID());
  let seen = "";
  for (let looks = 0; !(await take(path, own)); looks++) {
    checkAborted(signal);
    // Clocks may be set back, and processes sleep: what counts are changes that were seen.
    const state = await stateOf(path);
    if (state !== seen) looks = 0;
    seen = state;
    if (looks >= DEAD) await bury(path, state);
    else await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
  const timer = setInterval(() => {
    const now = new Date();
    utimes(own, now, now).catch(() => {});
  }, TOUCH);
  const isHeld = () => exists(own);
  return {
    isHeld,
    async release() {
      clearInterval(timer);
      if (await isHeld()) await rm(path, { recursive: true, force: true });
    },
  };
}

/** Whether there is anything at a path. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Takes a lock that nobody has. */
async function take(path: string, own: string): Promise<boolean> {
  const unless = (code: string) => (error: unknown) => {
    if ((error as { code?: unknown }).code !== code) throw error;
    return false;
  };
  const isMade = await mkdir(path).then(() => true, unless("EEXIST"));
  // Another may have removed it before it had a file.
  return isMade && writeFile(own, "").then(() => true, unless("ENOENT"));
}

/** What changes while a lock's owner lives. */
async function stateOf(path: string): Promise<string> {
  const owners = await readdir(path).catch(() => []);
  const times = [path, ...owners.map((name) => join(path, name))].map((path) =>
    stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    ),
  );
  return JSON.stringify([owners, await Promise.all(times)]);
}

/** Removes a lock whose owner has died. */
async function bury(path: string, state: string): Promise<void> {
  const grave = `${path}.${randomUUID()}`;
  try {
    await rename(path, grave);
  } catch {
    // Another was faster.
    return;
  }
  // Another was faster, and this is the lock of one who lives.
  if (
    (await stateOf(grave)) !== state &&
    (await rename(grave, path).then(
      () => true,
      () => false,
    ))
  )
    return;
  await rm(grave, { recursive: true, force: true });
}
