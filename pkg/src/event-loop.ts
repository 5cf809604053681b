/**
 * Lets the event loop run during long work, so that pages stay responsive and abort signals arrive.
 */

/** Milliseconds of work after which {@link yieldIfDue} lets the event loop run. */
const LONGEST_TURN = 8;

let last = 0;
let port: MessagePort | undefined;
const waiting: (() => void)[] = [];

/**
 * Resolves in a new task of the event loop. Timers are not used since browsers delay nested ones by
 * 4 ms or more.
 */
export async function yieldToEventLoop(): Promise<void> {
  await new Promise<void>(nextTask);
  last = performance.now();
}

/**
 * Calls {@link yieldToEventLoop} if the last turn was long ago. Without this a loop of short calls
 * would starve the event loop.
 */
export async function yieldIfDue(): Promise<void> {
  if (performance.now() - last > LONGEST_TURN) await yieldToEventLoop();
}

/** The longest delay of a timer, in milliseconds. Timers treat a longer one, and Infinity, as 0. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** `setTimeout` that accepts any delay. */
export function after(milliseconds: number, act: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(act, Math.min(milliseconds, LONGEST_TIMER));
}

/** The global `scheduler` of edge workers. */
declare const scheduler: { wait?(milliseconds: number): Promise<void> } | undefined;

function nextTask(resolve: () => void): void {
  if (typeof scheduler === "object" && typeof scheduler.wait === "function") {
    // In edge workers a `MessageChannel` belongs to the request that created it; later requests
    // would wait for ever.
    scheduler.wait(0).then(resolve);
  } else if (typeof setImmediate === "function") {
    setImmediate(resolve);
  } else if (typeof MessageChannel === "function") {
    if (port === undefined) {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => waiting.shift()?.();
      port = channel.port2;
    }
    waiting.push(resolve);
    port.postMessage(null);
  } else {
    setTimeout(resolve, 0);
  }
}
