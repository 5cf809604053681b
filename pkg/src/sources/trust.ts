/** What values from a network or a caller must look like before they become part of a path, of an address, or a size. */

/** The most bytes of a file: more than any model has. */
export const MOST_BYTES = 2 ** 40;

/** What no part of a path may have: control characters, half characters, what is special to Windows, a dot at its end. */
const BAD_PART = /[\p{Cc}\p{Cs}\\:]|[. ]$|^$|.{256}/su;

/** Whether it is a relative path that stays in its folder on every system. */
export function isPath(path: string): boolean {
  return path.length <= 1024 && path.split("/").every((part) => !BAD_PART.test(part));
}

/** The same for the name of a Hub's model, `name` or `org/name`. The cache has `--` for the slash. */
export function isId(id: string): boolean {
  return /^[\w-][\w.-]{0,95}(\/[\w-][\w.-]{0,95})?$/.test(id) && isPath(id) && !/--|\.\./.test(id);
}

/** Whether it is a hash: of 40 hexadecimal digits, as git's, or of 64. */
export function isHash(value: unknown, digits: 40 | 64 | undefined = undefined): value is string {
  return (
    typeof value === "string" &&
    /^([\da-f]{40}|[\da-f]{64})$/.test(value) &&
    (digits ?? value.length) === value.length
  );
}

/** Whether it is a number of bytes that a file may have. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MOST_BYTES;
}

/** A path in an address. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
