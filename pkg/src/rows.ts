/** Results in row-major order, and their method `toList`. */

interface Rows {
  data: { subarray(start: number, end: number): ArrayLike<number> };
  shape: [number, number];
}

/**
 * The prototype of results. Methods are here so that JSON, structured clones and comparisons do not
 * see them.
 */
const METHODS = {
  toList(this: Rows): number[][] {
    return lists(this);
  },
};

/** The rows as lists of numbers. */
export function lists({ data, shape: [n, width] }: Rows): number[][] {
  return Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
}

/** Adds the method `toList()` to an object. */
export function withList<T extends Rows>(rows: T | Omit<T, "toList">): T {
  return Object.setPrototypeOf(rows, METHODS) as T;
}
