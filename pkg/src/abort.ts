/** Listening to signals. */

interface Listener {
  acts: Set<() => void>;
  call: () => void;
}

/** One listener for each signal: Node warns of more than ten, as of some that were forgotten. */
const listeners = new WeakMap<AbortSignal, Listener>();

/** Calls `act` when the signal is aborted, until the function is called that this returns. */
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

/** The promise, or a rejection with the signal's reason when that is aborted, be it that what is waited for goes on. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    promise.then(resolve, reject);
    const abort = () => reject(signal.reason);
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
