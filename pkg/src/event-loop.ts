/** Lets the event loop run in the middle of long work, so that pages stay alive and aborts arrive. */

/** Work that may pass, in milliseconds, before calls that never wait by themselves let the event loop run. */
const LONGEST_TURN = 8;

let last = 0;
let port: MessagePort | undefined;
const waiting: (() => void)[] = [];

/** Resolves in a new task of the event loop. Timers would do, but browsers hold nested ones back by 4 ms or more. */
export async function yieldToEventLoop(): Promise<void> {
  await new Promise<void>(nextTask);
  last = performance.now();
}

/** {@link yieldToEventLoop}, if it is due. Without this a loop of short calls would starve the event loop. */
export async function yieldIfDue(): Promise<void> {
  if (performance.now() - last > LONGEST_TURN) await yieldToEventLoop();
}

/** The longest time that timers can wait for. They take a longer one, and Infinity, for none at all. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** `setTimeout`, for any time. */
export function after(milliseconds: number, act: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(act, Math.min(milliseconds, LONGEST_TIMER));
}

/** What edge workers have of the global `scheduler`. */
declare const scheduler: { wait?(milliseconds: number): Promise<void> } | undefined;

function nextTask(resolve: () => void): void {
  if (typeof scheduler === "object" && typeof scheduler.wait === "function") {
    // There a channel would belong to the request that made it, and keep later ones waiting for ever.
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
