// Sizes as engines and the kernel write them: `1048576`, `64k`, `512m`, `4g`.

const UNITS: Partial<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Returns NaN for a text that is no size. */
export function readBytes(text: string): number {
  const [, digits, unit = ''] = /^([0-9]{1,15})([kmg]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : Number.NaN;
}
