/** Formats numbers for readers. */

const SIZES = [
  [1e9, "gigabyte"],
  [1e6, "megabyte"],
  [1e3, "kilobyte"],
] as const;

/** `22.9 MB` */
export function size(bytes: number): string {
  const [unit, name] = SIZES.find(([unit]) => bytes >= unit) ?? [1, "byte"];
  return measure(bytes / unit, name);
}

/** `4.2 ms`, `1.3 sec` from one second on, `2.5 min` from two minutes on. */
export function time(milliseconds: number): string {
  if (milliseconds < 1000) return measure(milliseconds, "millisecond");
  return milliseconds < 120_000
    ? measure(milliseconds / 1000, "second")
    : measure(milliseconds / 60_000, "minute");
}

export function count(value: number): string {
  return new Intl.NumberFormat("en", { maximumFractionDigits: 0 }).format(value);
}

/** A fixed number of decimals, without the sign of a rounded zero. */
export function fixed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/^-(0\.0*)$/, "$1");
}

/** `22.6M` */
export function compact(value: number): string {
  return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

/** The last part of a Hub id, an address or a path. */
export function lastPart(name: string): string {
  return /[^/]+(?=\/*$)/.exec(name)?.[0] ?? name;
}

/** Three significant digits. */
export function short(value: number): string {
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(value);
}

/** `1 passage`, `2 passages` */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function measure(value: number, unit: string): string {
  const maximumFractionDigits = value < 100 ? 1 : 0;
  return new Intl.NumberFormat("en", { style: "unit", unit, maximumFractionDigits }).format(value);
}
