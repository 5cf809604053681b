/** Measures two functions in alternation, so that other load on the machine affects both alike. */

const ROUNDS = 9;
/** Milliseconds of warming up. */
const WARM = 500;
/** Milliseconds of the slower function's turn. */
const TURN = 200;

type Work = () => Promise<unknown>;

export interface Turns {
  /** Median milliseconds per call of each. */
  first: number;
  second: number;
  /** Time of the second divided by that of the first: the median over the rounds. */
  ratio: number;
}

export async function byTurns(first: Work, second: Work, signal: AbortSignal): Promise<Turns> {
  const slower = Math.max(await warm(first), await warm(second));
  const calls = Math.max(1, Math.round(TURN / slower));
  const rounds: Omit<Turns, "ratio">[] = [];
  while (rounds.length < ROUNDS) {
    signal.throwIfAborted();
    rounds.push({ first: await timed(first, calls), second: await timed(second, calls) });
  }
  return {
    first: median(rounds.map(({ first }) => first)),
    second: median(rounds.map(({ second }) => second)),
    ratio: median(rounds.map(({ first, second }) => second / first)),
  };
}

/**
 * Calls the function until the engine has optimised it. Returns the milliseconds of the last call.
 */
async function warm(work: Work): Promise<number> {
  const start = performance.now();
  let last: number;
  do last = await timed(work, 1);
  while (performance.now() - start < WARM);
  return last;
}

async function timed(work: Work, calls: number): Promise<number> {
  const start = performance.now();
  for (let call = 0; call < calls; call++) await work();
  return (performance.now() - start) / calls;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
