/** Results of one row after the other. */

interface Rows {
  data: { subarray(start: number, end: number): ArrayLike<number> };
  shape: [number, number];
}

/** What JSON, the structured clone and comparisons do not see. */
const METHODS = {
  toList(this: Rows): number[][] {
    return lists(this);
  },
};

/** The rows as lists of numbers. */
export function lists({ data, shape: [n, width] }: Rows): number[][] {
  return Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
}

/** The same object, with `toList()`. */
export function withList<T extends Rows>(rows: T | Omit<T, "toList">): T {
  return Object.setPrototypeOf(rows, METHODS) as T;
}
