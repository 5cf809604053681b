/**
 * Checks of values from a network or a caller before they are used in a path or an address or as a
 * size.
 */

/** Maximum size of a file in bytes: more than any model has. */
export const MOST_BYTES = 2 ** 40;

/**
 * What is forbidden in a part of a path: control characters, lone surrogates, characters special to
 * Windows, a dot or space at the end, more than 255 characters.
 */
const BAD_PART = /[\p{Cc}\p{Cs}\\:]|[. ]$|^$|.{256}/su;

/** Whether a value is a relative path that stays in its folder on every system. */
export function isPath(path: string): boolean {
  return path.length <= 1024 && path.split("/").every((part) => !BAD_PART.test(part));
}

/**
 * Whether a value is the name of a Hub model, `name` or `org/name`. `--` is forbidden since it
 * replaces the slash in cache folders.
 */
export function isId(id: string): boolean {
  return /^[\w-][\w.-]{0,95}(\/[\w-][\w.-]{0,95})?$/.test(id) && isPath(id) && !/--|\.\./.test(id);
}

/** Whether a value is a hash of 40 (git) or 64 (SHA-256) hexadecimal digits. */
export function isHash(value: unknown, digits: 40 | 64 | undefined = undefined): value is string {
  return (
    typeof value === "string" &&
    /^([\da-f]{40}|[\da-f]{64})$/.test(value) &&
    (digits ?? value.length) === value.length
  );
}

/** Whether a value is a valid size of a file in bytes. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MOST_BYTES;
}

/** Encodes a path for use in an address. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
