/**
 * Locks across tabs and workers if the host has `navigator.locks`, otherwise within this thread.
 */

import { aborted } from "../errors.js";

/** Releases a lock. */
export type Release = () => void;

const queues = new Map<string, Promise<void>>();

/** Waits for a lock and acquires it. */
export async function acquire(name: string, signal?: AbortSignal): Promise<Release> {
  const { locks } = globalThis.navigator ?? {};
  return locks ? between(locks, name, signal) : within(name, signal);
}

/** Runs `work` while holding the lock. */
export async function exclusive<T>(name: string, work: () => Promise<T>): Promise<T> {
  const release = await acquire(name);
  try {
    return await work();
  } finally {
    release();
  }
}

function between(locks: LockManager, name: string, signal: AbortSignal | undefined): Promise<Release> {
  return new Promise((resolve, reject) => {
    const hold = () => new Promise<void>((release) => resolve(release));
    locks
      .request(name, signal ? { signal } : {}, hold)
      .catch((error) => reject(signal?.aborted ? aborted(signal) : error));
  });
}

async function within(name: string, signal: AbortSignal | undefined): Promise<Release> {
  const before = queues.get(name) ?? Promise.resolve();
  let release: Release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const last = before.then(() => held);
  queues.set(name, last);
  void last.then(() => queues.get(name) === last && queues.delete(name));
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      release();
      reject(aborted(signal as AbortSignal));
    };
    signal?.addEventListener("abort", abort);
    void before.then(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
  });
  return release;
}
