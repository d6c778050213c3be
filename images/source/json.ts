// JSON that a stranger wrote: parsed once, and looked at through functions that check what they give.

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

/** @throws ImageError `corrupt` if it is anything but an object */
export function object(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(what, 'an object');
  return value as Json;
}

/** An object, or an empty one for what is absent. */
export function optionalObject(value: unknown, what: string): Json {
  return value === undefined || value === null ? {} : object(value, what);
}

/** A list, or an empty one for what is absent. */
export function list(value: unknown, what: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(what, 'a list');
  return value;
}

/** A string, or '' for what is absent. */
export function string(value: unknown, what: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw wrong(what, 'a string');
  return value;
}

export function strings(value: unknown, what: string): string[] {
  return list(value, what).map((item) => string(item, what));
}

/** An object whose values are all strings. */
export function stringMap(value: unknown, what: string): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [key, item] of Object.entries(optionalObject(value, what))) result[key] = string(item, what);
  return { ...result };
}

function wrong(what: string, wanted: string): ImageError {
  return new ImageError('corrupt', `${what} is not ${wanted}`);
}
