// Checks of saved state, which comes from a disk: it may be damaged, hostile, or of another version
// of this program. Each device describes its state with these few functions. They replace a schema
// library, which the machine process would have to load.
import { MachineError } from './machine.js';

/** Returns `value` if it is a `T`, else throws {@link FieldError}. {@link parseState} calls it. */
export type Check<T> = (value: unknown) => T;

/**
 * A check refused a value. Every record and list around the value puts its own step before `path`.
 */
export class FieldError extends Error {
  /**
   * @param wanted completes "is not ...": `true or false`
   * @param path from the checked value to the part that is wrong: `.inodes[3].name`
   */
  constructor(
    readonly wanted: string,
    public path = '',
  ) {
    super(wanted);
    this.name = 'FieldError';
  }
}

/**
 * Returns the state if `check` accepts all of it.
 * @param name of what was saved: `blk`
 * @throws MachineError `bad-snapshot`, whose message names the first field that is wrong:
 * `blk.device.writeback`
 */
export function parseState<T>(name: string, check: Check<T>, state: unknown): T {
  try {
    return check(state);
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    const field = `${name}${error.path}`;
    const message = `the saved state is damaged or of another version: ${field} is not ${error.wanted}`;
    throw new MachineError('bad-snapshot', message, { cause: error });
  }
}

/**
 * Checks a part of a value. `step` leads to it: a field's name, or an index. The path is built only
 * for an error.
 */
function within<T>(step: string | number, check: Check<T>, part: unknown): T {
  try {
    return check(part);
  } catch (error) {
    if (error instanceof FieldError) error.path = `${typeof step === 'number' ? `[${step}]` : `.${step}`}${error.path}`;
    throw error;
  }
}

/** Accepts a number from `least` to `most`. */
export function real(least: number, most: number): Check<number> {
  return (value) => {
    if (typeof value === 'number' && value >= least && value <= most) return value;
    throw new FieldError(`a number from ${least} to ${most}`);
  };
}

/** Accepts a whole number from `least` to `most`. */
export function integer(least: number, most: number): Check<number> {
  return (value) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new FieldError(`a whole number from ${least} to ${most}`);
  };
}

export const u8 = integer(0, 0xff);
export const u16 = integer(0, 0xffff);
export const u32 = integer(0, 0xffffffff);

export const boolean: Check<boolean> = (value) => {
  if (typeof value === 'boolean') return value;
  throw new FieldError('true or false');
};

/** Accepts a string that matches `pattern`. `wanted` describes the pattern. */
export function text(pattern: RegExp, wanted: string): Check<string> {
  return (value) => {
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw new FieldError(wanted);
  };
}

/** Accepts `null`, and what `check` accepts. */
export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value) => (value === null ? null : check(value));
}

/** Accepts a list of `least` to `most` items. */
export function list<T>(item: Check<T>, least: number, most: number): Check<T[]> {
  return (value) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      throw new FieldError(`a list of ${least === most ? least : `${least} to ${most}`}`);
    }
    return Array.from(value, (each: unknown, index) => within(index, item, each));
  };
}

/** Accepts an object with exactly these fields. */
export function record<T extends object>(fields: { [Key in keyof T]: Check<T[Key]> }): Check<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FieldError('an object');
    const given = new Map<string, unknown>(Object.entries(value));
    const checked: Partial<T> = {};
    for (const name of names) checked[name] = within(name, fields[name], given.get(name));
    const unknown = [...given.keys()].find((name) => !Object.hasOwn(fields, name));
    if (unknown !== undefined) throw new FieldError('a field of this version', `.${unknown}`);
    return checked as T;
  };
}

/** The state of a device that has nothing to save. */
export type NoState = Record<string, never>;
export const noState: Check<NoState> = record<NoState>({});
