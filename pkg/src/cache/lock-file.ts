/**
 * Locks between processes, which Node does not have. A lock is a folder that its owner creates. The
 * folder contains a file of the owner, whose time the owner updates while it is alive.
 */

import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { checkAborted } from "../errors.js";

/** Milliseconds between checks of a lock that another process holds. */
const LOOK = 50;
/** Milliseconds between updates of the owner's file. */
const TOUCH = 1000;
/** Number of checks (ten seconds) of an unchanged lock after which its owner counts as dead. */
const DEAD = 200;

/** A lock that this process has acquired. */
export interface FileLock {
  /**
   * Whether this process still holds it: others take a lock from a process that was suspended for
   * long.
   */
  isHeld(): Promise<boolean>;
  /** Releases the lock. */
  release(): Promise<void>;
}

/** Waits for a lock and acquires it. */
export async function lockFile(path: string, signal: AbortSignal | undefined): Promise<FileLock> {
  const own = join(path, randomUUID());
  let seen = "";
  for (let looks = 0; !(await take(path, own)); looks++) {
    checkAborted(signal);
    // Counts observed changes instead of comparing times, since clocks may be set back and
    // processes suspended.
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

/** Whether a path exists. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Tries to acquire a lock. Returns false if another process holds it. */
async function take(path: string, own: string): Promise<boolean> {
  const unless = (code: string) => (error: unknown) => {
    if ((error as { code?: unknown }).code !== code) throw error;
    return false;
  };
  const isMade = await mkdir(path).then(() => true, unless("EEXIST"));
  // Another process may have removed the folder before it had a file.
  return isMade && writeFile(own, "").then(() => true, unless("ENOENT"));
}

/** A value that changes while the owner of a lock is alive. */
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
    // Another process was faster.
    return;
  }
  // Another process was faster, and this is its new lock: put it back.
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
