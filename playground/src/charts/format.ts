/** Numbers as people read them. */

const SI = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const PLAIN = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1234567 → 1.23M */
export function compact(value: number): string {
  return SI.format(value);
}

/** 0.12345 → 0.123 */
export function plain(value: number): string {
  return PLAIN.format(value);
}

/** 12345 → 12,345; 0.7823 → 0.78 */
export function count(value: number): string {
  return COUNT.format(value);
}

/** 4831838208 → 4.5 GiB */
export function bytes(value: number): string {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10));
  return `${plain(value / 1024 ** step)} ${UNITS[step]}`;
}

/** 0.0421 → 42 ms; 3.21 → 3.2 s */
export function seconds(value: number): string {
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}
