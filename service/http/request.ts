// Reading a request: its body as JSON, and checks by a schema.
import type { Context } from 'hono';
import type { z } from 'zod';
import { ServiceError } from '../errors.js';

/** Values of a text of JSON, and how deep one may be within others. */
export const MAX_VALUES = 10_000;
export const MAX_DEPTH = 32;

/** @throws ServiceError `not-json`, `bad-request` */
export async function readJson({ req }: Pick<Context, 'req'>): Promise<unknown> {
  const type = req.header('Content-Type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ServiceError('not-json', 'the Content-Type application/json is needed');
  }
  return parseJson(await req.text());
}

/** @throws ServiceError `bad-request` */
export function parseJson(text: string): unknown {
  checkValues(text);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ServiceError('bad-request', 'body: not JSON', { cause });
  }
}

/**
 * A million bytes hold 350,000 values, of which a schema tells what is wrong with each: that kept the
 * server from all others for three seconds. The parser alone took one for half a million levels.
 * @throws ServiceError `bad-request`
 */
function checkValues(text: string): void {
  let [values, depth] = [1, 0];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === ',') values++;
    else if (character === '[' || character === '{') {
      values++;
      depth++;
    } else if (character === ']' || character === '}') depth--;
    if (values > MAX_VALUES) throw new ServiceError('bad-request', `body: more than ${MAX_VALUES} values`);
    if (depth > MAX_DEPTH) throw new ServiceError('bad-request', `body: more than ${MAX_DEPTH} levels`);
  }
}

/** Where the string ends that begins there. */
function endOfString(text: string, begin: number): number {
  for (let end = text.indexOf('"', begin + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text[end - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return end;
  }
  return text.length;
}

/**
 * What a schema makes of a value.
 * @param what the part of the request, for messages
 * @throws ServiceError `bad-request`
 */
export function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [what, ...(issue?.path ?? []).map(String)].join('.').slice(0, 200);
  throw new ServiceError('bad-request', `${path}: ${issue?.message.slice(0, 500)}`);
}

/**
 * A body as it arrives.
 * @param max bytes
 * @throws ServiceError `too-large`, `bad-request` if it breaks off
 */
export async function* bounded(body: ReadableStream<Uint8Array> | null, max: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  try {
    for await (const chunk of body ?? []) {
      size += chunk.length;
      if (size > max) throw new ServiceError('too-large', `the body has more than ${max} bytes`);
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw new ServiceError('bad-request', 'the request broke off', { cause });
  }
}
