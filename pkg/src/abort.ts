/** Listening to abort signals. */

import { aborted } from "./errors.js";

interface Listener {
  acts: Set<() => void>;
  call: () => void;
}

/** One listener for each signal: Node warns of a leak if a signal has more than ten. */
const listeners = new WeakMap<AbortSignal, Listener>();

/** Calls `act` when the signal is aborted. Returns a function that stops listening. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (!signal) return () => {};
  const { acts, call } = listeners.get(signal) ?? listen(signal);
  // The same function may be given twice.
  const one = () => act();
  acts.add(one);
  return () => {
    if (!acts.delete(one) || acts.size > 0) return;
    signal.removeEventListener("abort", call);
    listeners.delete(signal);
  };
}

/**
 * The promise, or a rejection with code `aborted` as soon as the signal is aborted. The work behind
 * the promise may still go on then.
 */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    promise.then(resolve, reject);
    const abort = () => reject(aborted(signal));
    if (signal.aborted) abort();
    const stop = onAbort(signal, abort);
    promise.then(stop, stop);
  });
}

function listen(signal: AbortSignal): Listener {
  const acts = new Set<() => void>();
  const call = () => {
    for (const act of acts) act();
  };
  const listener = { acts, call };
  listeners.set(signal, listener);
  signal.addEventListener("abort", call);
  return listener;
}
