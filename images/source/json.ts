// Reads untrusted JSON through functions that check the type of each value. All throw `ImageError`
// `corrupt`; `what` describes the value in its message.

import { ImageError } from '../errors.js';

export type Json = Record<string, unknown>;

/** @throws ImageError `corrupt` */
export function parseJson(bytes: Buffer, what: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new ImageError('corrupt', `${what} is not JSON`, { cause });
  }
}

/** Returns an object. @throws ImageError `corrupt` for any other value */
export function object(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(what, 'an object');
  return value as Json;
}

/** Returns an object; an empty one for undefined and null. */
export function optionalObject(value: unknown, what: string): Json {
  return value === undefined || value === null ? {} : object(value, what);
}

/** Returns a list; an empty one for undefined and null. */
export function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(what, 'a list');
  return value;
}

/** Returns a string; '' for undefined and null. */
export function string(value: unknown, what: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw wrong(what, 'a string');
  return value;
}

/** Returns an integer; 0 for undefined and null. @throws ImageError `corrupt` for any other value */
export function integer(value: unknown, what: string): number {
  if (value === undefined || value === null) return 0;
  if (typeof value !== 'number' || !Number.isInteger(value)) throw wrong(what, 'an integer');
  return value;
}

export function strings(value: unknown, what: string): string[] {
  return list(value, what).map((item) => string(item, what));
}

/** Returns an object whose values are strings; an empty one for undefined and null. */
export function stringMap(value: unknown, what: string): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [key, item] of Object.entries(optionalObject(value, what))) result[key] = string(item, what);
  return { ...result };
}

function wrong(what: string, wanted: string): ImageError {
  return new ImageError('corrupt', `${what} is not ${wanted}`);
}
